//! A service whose calls have a deadline.

use std::{
    future::{Future, ready},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use env::RequestContext;
use tower::Service;

use super::{Elapsed, Error};

/// See [`DeadlineLayer`](super::DeadlineLayer).
#[derive(Debug, Clone)]
pub struct DeadlineService<S> {
    inner: S,
    limit: Option<Duration>,
}

impl<S> DeadlineService<S> {
    pub(super) fn new(inner: S, limit: Option<Duration>) -> Self {
        Self { inner, limit }
    }
}

/// The answer of a [`DeadlineService`]. Boxed, for it runs within a scope and a time limit that have no names.
pub type ResponseFuture<R, E> = Pin<Box<dyn Future<Output = Result<R, Error<E>>> + Send>>;

impl<S, R> Service<R> for DeadlineService<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let mut context = RequestContext::current();
        if let Some(limit) = self.limit {
            context = context.within(limit);
        }
        match context.remaining() {
            Some(Duration::ZERO) => Box::pin(ready(Err(Elapsed.into()))),
            Some(remaining) => {
                let call = context.scope(self.inner.call(request));
                Box::pin(async move {
                    env::timeout(remaining, call)
                        .await
                        .map_err(|_| Elapsed)?
                        .map_err(Error::Inner)
                })
            }
            None => {
                let call = self.inner.call(request);
                Box::pin(async move { call.await.map_err(Error::Inner) })
            }
        }
    }
}
