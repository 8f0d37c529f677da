//! A service behind a rate limit.

use std::{
    hash::Hash,
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::{Decision, Error, RateLimiter, Refused, ResponseFuture};

/// See [`RateLimitLayer`](super::RateLimitLayer).
pub struct RateLimitService<S, K, F> {
    inner: S,
    limiter: Arc<RateLimiter<K>>,
    key: F,
}

impl<S, K, F> RateLimitService<S, K, F> {
    pub(super) fn new(inner: S, limiter: Arc<RateLimiter<K>>, key: F) -> Self {
        Self {
            inner,
            limiter,
            key,
        }
    }
}

// Derived, it would ask that keys can be cloned.
impl<S: Clone, K, F: Clone> Clone for RateLimitService<S, K, F> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.limiter.clone(), self.key.clone())
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
        match self.limiter.check(&(self.key)(&request)) {
            Decision::Allowed { .. } => ResponseFuture::called(self.inner.call(request)),
            Decision::Refused { retry_after } => ResponseFuture::refused(Refused { retry_after }),
        }
    }
}
