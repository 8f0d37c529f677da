//! How much the head of a request may hold: 414 and 431. And a path that says what it means: 400.

use std::task::{Context, Poll};

use env::Problem;
use futures::future::{Either, Ready, ready};
use http::{HeaderMap, Request, StatusCode, Uri};
use tower::{Layer, Service};

use super::Refusal;
use crate::config::Limits;

/// Refuses requests whose head is too long, or whose path has dot segments.
#[derive(Debug, Clone)]
pub struct HeadLayer {
    headers: u64,
    uri: u64,
}

impl HeadLayer {
    /// Holds requests to `limits`.
    pub fn new(limits: &Limits) -> Self {
        Self {
            headers: limits.headers.bytes(),
            uri: limits.uri.bytes(),
        }
    }

    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let asked = uri.path_and_query().map_or(0, |asked| asked.as_str().len());
        if asked as u64 > self.uri {
            let limit = self.uri;
            let detail = format!("The path and query may have {limit} bytes, not {asked}.");
            return Err(Problem::new(StatusCode::URI_TOO_LONG, "uri-too-long", detail).into());
        }
        let lines = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len());
        let held: usize = lines.sum();
        if held as u64 > self.headers {
            let limit = self.headers;
            let detail = format!("The headers may hold {limit} bytes together, not {held}.");
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(Problem::new(status, "headers-too-large", detail).into());
        }
        if uri.path().split('/').any(is_dots) {
            let detail = "The path has a segment `.` or `..`. Write the path that you mean.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-path", detail).into());
        }
        Ok(())
    }
}

/// Whether a service might take a segment for a step to another path, one that was not routed.
fn is_dots(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}

impl<S> Layer<S> for HeadLayer {
    type Service = Head<S>;

    fn layer(&self, inner: S) -> Head<S> {
        Head {
            inner,
            limits: self.clone(),
        }
    }
}

/// See [`HeadLayer`].
#[derive(Debug, Clone)]
pub struct Head<S> {
    inner: S,
    limits: HeadLayer,
}

impl<S, B> Service<Request<B>> for Head<S>
where
    S: Service<Request<B>, Error = Refusal>,
{
    type Response = S::Response;
    type Error = Refusal;
    type Future = Either<S::Future, Ready<Result<S::Response, Refusal>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.limits.check(request.uri(), request.headers()) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(refusal) => Either::Right(ready(Err(refusal))),
        }
    }
}
