//! How long the head of an answer may take: 504. What is left of it goes to the service as its deadline.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use axum_core::response::Response;
use env::{Problem, RequestContext};
use futures::future::BoxFuture;
use http::{Request, StatusCode};
use tower::{Layer, Service};

use super::Refusal;

/// Waits for answers no longer than a limit.
#[derive(Debug, Clone)]
pub struct DeadlineLayer {
    limit: Duration,
}

impl DeadlineLayer {
    /// Gives the service below `limit` to answer.
    pub fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline {
            inner,
            limit: self.limit,
        }
    }
}

/// See [`DeadlineLayer`].
#[derive(Debug, Clone)]
pub struct Deadline<S> {
    inner: S,
    limit: Duration,
}

/// 504, for an answer that did not come within `limit`.
pub(crate) fn exceeded(limit: Duration) -> Problem {
    let detail = format!("The service did not answer within {limit:?}.");
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "deadline-exceeded", detail)
}

impl<S, B> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response, Error = Refusal>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Refusal;
    type Future = BoxFuture<'static, Result<Response, Refusal>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let limit = self.limit;
        let answer = self.inner.call(request);
        let context = RequestContext::current().within(limit);
        Box::pin(context.scope(async move {
            env::timeout(limit, answer)
                .await
                .unwrap_or_else(|_| Err(exceeded(limit).into()))
        }))
    }
}
