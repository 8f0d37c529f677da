//! A refusal becomes an answer: problem details that name the path and the correlation id.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum_core::response::{IntoResponse, Response};
use futures::{FutureExt, future::BoxFuture};
use http::Request;
use tower::{Layer, Service, ServiceExt};

use super::Refusal;

/// Answers with the problem where the service below fails.
#[derive(Debug, Clone, Copy)]
pub struct ProblemsLayer;

impl<S> Layer<S> for ProblemsLayer {
    type Service = Problems<S>;

    fn layer(&self, inner: S) -> Problems<S> {
        Problems { inner }
    }
}

/// See [`ProblemsLayer`].
#[derive(Debug, Clone)]
pub struct Problems<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for Problems<S>
where
    S: Service<Request<B>, Response = Response, Error = Refusal> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Not being ready may be a problem too, and has to be told to somebody.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        let path = request.uri().path().to_owned();
        let answer = inner.oneshot(request).map(move |answer| {
            Ok(answer.unwrap_or_else(|refusal| {
                let (problem, headers) = refusal.into_parts();
                tracing::debug!(%problem, path, "refused");
                let mut response = problem.at(&path).into_response();
                response.headers_mut().extend(headers);
                response
            }))
        });
        Box::pin(answer)
    }
}
