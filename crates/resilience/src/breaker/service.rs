//! A service behind a breaker.

use std::task::{Context, Poll};

use tower::Service;

use super::{Breaker, Error, ResponseFuture};

/// See [`BreakerLayer`](super::BreakerLayer).
#[derive(Clone)]
pub struct BreakerService<S, C> {
    inner: S,
    breaker: Breaker,
    is_failure: C,
}

impl<S, C> BreakerService<S, C> {
    pub(super) fn new(inner: S, breaker: Breaker, is_failure: C) -> Self {
        Self {
            inner,
            breaker,
            is_failure,
        }
    }
}

impl<S, C, R> Service<R> for BreakerService<S, C>
where
    S: Service<R>,
    C: Fn(&Result<S::Response, S::Error>) -> bool + Clone,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // To be not ready would mean to wait for the recovery; who is refused should rather know.
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match self.breaker.enter_owned() {
            Ok(permit) => {
                ResponseFuture::called(self.inner.call(request), permit, self.is_failure.clone())
            }
            Err(open) => ResponseFuture::refused(open),
        }
    }
}
