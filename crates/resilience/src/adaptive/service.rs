//! A service behind an adaptive limit.

use std::task::{Context, Poll};

use tower::Service;

use super::{Ended, Error, Limiter, ResponseFuture};

/// See [`AdaptiveLayer`](super::AdaptiveLayer).
#[derive(Clone)]
pub struct AdaptiveService<S, C> {
    inner: S,
    limiter: Limiter,
    ended: C,
}

impl<S, C> AdaptiveService<S, C> {
    pub(super) fn new(inner: S, limiter: Limiter, ended: C) -> Self {
        Self {
            inner,
            limiter,
            ended,
        }
    }
}

impl<S, C, R> Service<R> for AdaptiveService<S, C>
where
    S: Service<R>,
    C: Fn(&Result<S::Response, S::Error>) -> Ended + Clone,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Who is refused should know at once, not queue.
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match self.limiter.enter() {
            Ok(permit) => {
                ResponseFuture::called(self.inner.call(request), permit, self.ended.clone())
            }
            Err(limited) => ResponseFuture::refused(limited),
        }
    }
}
