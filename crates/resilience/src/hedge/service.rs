//! A service that is asked a second time where it takes long.

use std::{
    mem,
    task::{Context, Poll},
};

use tower::Service;

use super::{Error, HedgeLayer, ResponseFuture, future};

/// See [`HedgeLayer`].
#[derive(Clone)]
pub struct HedgeService<S, C> {
    inner: S,
    layer: HedgeLayer<C>,
}

impl<S, C> HedgeService<S, C> {
    pub(super) fn new(inner: S, layer: HedgeLayer<C>) -> Self {
        Self { inner, layer }
    }
}

impl<S, C, R> Service<R> for HedgeService<S, C>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    R: Send + 'static,
    C: Fn(&R) -> Option<R> + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // The clone that stays is not ready; the one that was found ready is called.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone);
        Box::pin(future::hedged(ready, request, self.layer.clone()))
    }
}
