//! How long the body of a request may be: 413, at once where it says its length, else while it streams.
//!
//! A client that sends too much, nothing more, or is gone in the middle is its own fault alone: the call is
//! given up before the service's circuit breaker could count a failure. Its connection ends with the answer.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use axum_core::{body::Body, response::Response};
use env::Problem;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, StatusCode, header::CONNECTION};
use http_body::Body as _;
use tower::{Layer, Service};

use super::Refusal;
use crate::{
    body::{self, Fault},
    config::Size,
};

/// Streams bodies up to a length, and gives up those that do not go on.
#[derive(Debug, Clone)]
pub struct UploadLayer {
    limit: Size,
    idle: Duration,
}

impl UploadLayer {
    /// Lets bodies of up to `limit` through, in which no silence is longer than `idle`.
    pub fn new(limit: Size, idle: Duration) -> Self {
        Self { limit, idle }
    }

    fn refusal(&self, fault: Fault) -> Refusal {
        let Self { limit, idle } = self;
        let problem = match fault {
            Fault::TooLarge => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                format!("The body may have {limit}."),
            ),
            Fault::Silent => Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "body-timeout",
                format!("Nothing more of the body came for {idle:?}."),
            ),
            Fault::BrokenOff => Problem::new(
                StatusCode::BAD_REQUEST,
                "body-broken-off",
                "The body of the request broke off.",
            ),
        };
        // What is left of the body will not be read, so no request can follow it: better that the client knows before
        // it sends one (RFC 9112, section 9.6).
        Refusal::from(problem).with(CONNECTION, HeaderValue::from_static("close"))
    }
}

impl<S> Layer<S> for UploadLayer {
    type Service = Upload<S>;

    fn layer(&self, inner: S) -> Upload<S> {
        Upload {
            inner,
            layer: self.clone(),
        }
    }
}

/// See [`UploadLayer`].
#[derive(Debug, Clone)]
pub struct Upload<S> {
    inner: S,
    layer: UploadLayer,
}

impl<S> Service<Request<Body>> for Upload<S>
where
    S: Service<Request<Body>, Response = Response, Error = Refusal>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Refusal;
    type Future = BoxFuture<'static, Result<Response, Refusal>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let layer = self.layer.clone();
        if request.body().size_hint().lower() > layer.limit.bytes() {
            return Box::pin(async move { Err(layer.refusal(Fault::TooLarge)) });
        }
        let (parts, streamed) = request.into_parts();
        let streamed = body::never_silent(streamed, layer.idle);
        let (streamed, mut fault) = body::upload(streamed, layer.limit.bytes());
        let answer = self.inner.call(Request::from_parts(parts, streamed));
        Box::pin(async move {
            tokio::select! {
                // First, so that the fault is seen before what it makes of the call.
                biased;
                Ok(fault) = &mut fault => Err(layer.refusal(fault)),
                answer = answer => match fault.try_recv() {
                    // A service in this process has read the body within its answer.
                    Ok(fault) => Err(layer.refusal(fault)),
                    Err(_) => answer,
                },
            }
        })
    }
}
