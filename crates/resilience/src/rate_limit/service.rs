//! A service behind a rate limit.

use std::{
    hash::Hash,
    task::{Context, Poll},
};

use tower::Service;

use super::{Decision, Error, RateLimitLayer, Refused, ResponseFuture};
use crate::observe;

/// See [`RateLimitLayer`](super::RateLimitLayer).
pub struct RateLimitService<S, K, F> {
    inner: S,
    layer: RateLimitLayer<K, F>,
}

impl<S, K, F> RateLimitService<S, K, F> {
    pub(super) fn new(inner: S, layer: RateLimitLayer<K, F>) -> Self {
        Self { inner, layer }
    }
}

// Derived, it would ask that keys can be cloned.
impl<S: Clone, K, F: Clone> Clone for RateLimitService<S, K, F> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.layer.clone())
    }
}

impl<S, K, F, R> Service<R> for RateLimitService<S, K, F>
where
    S: Service<R>,
    K: Hash,
    F: Fn(&R) -> K,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Whether a request may be made depends on its key, which only the request tells.
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match self.layer.limiter.check(&(self.layer.key)(&request)) {
            Decision::Allowed { .. } => ResponseFuture::called(self.inner.call(request)),
            Decision::Refused { retry_after } => {
                self.layer.reporter.report(observe::Decision::RateLimited);
                ResponseFuture::refused(Refused { retry_after })
            }
        }
    }
}
