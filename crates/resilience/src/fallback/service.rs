//! A service with a fallback.

use std::{
    future::Future,
    task::{Context, Poll},
};

use tower::Service;

use super::{Error, FallbackLayer, ResponseFuture};

/// See [`FallbackLayer`].
#[derive(Clone)]
pub struct FallbackService<S, C, A> {
    inner: S,
    layer: FallbackLayer<C, A>,
}

impl<S, C, A> FallbackService<S, C, A> {
    pub(super) fn new(inner: S, layer: FallbackLayer<C, A>) -> Self {
        Self { inner, layer }
    }
}

impl<S, C, A, G, R> Service<R> for FallbackService<S, C, A>
where
    S: Service<R>,
    C: Fn(&Result<S::Response, S::Error>) -> bool + Clone,
    A: Fn(&Result<S::Response, S::Error>) -> G + Clone,
    G: Future<Output = Option<S::Response>>,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S::Future, G, C, A, S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error)
    }

    fn call(&mut self, request: R) -> Self::Future {
        ResponseFuture::new(self.inner.call(request), self.layer.clone())
    }
}
