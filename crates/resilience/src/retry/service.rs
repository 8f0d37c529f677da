//! A service whose calls are made again.

use std::{
    mem,
    task::{Context, Poll},
};

use tower::Service;

use super::{ResponseFuture, RetryLayer, Verdict, future};

/// See [`RetryLayer`].
#[derive(Clone)]
pub struct RetryService<S, V, C> {
    inner: S,
    layer: RetryLayer<V, C>,
}

impl<S, V, C> RetryService<S, V, C> {
    pub(super) fn new(inner: S, layer: RetryLayer<V, C>) -> Self {
        Self { inner, layer }
    }
}

impl<S, V, C, R> Service<R> for RetryService<S, V, C>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    R: Send + 'static,
    V: Fn(&Result<S::Response, S::Error>) -> Verdict + Clone + Send + 'static,
    C: Fn(&R) -> Option<R> + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // The clone that stays is not ready; the one that was found ready is called.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        Box::pin(future::attempts(ready, request, self.layer.clone()))
    }
}
