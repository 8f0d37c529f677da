//! A service that sheds load.

use std::task::{Context, Poll};

use tower::Service;

use super::{Error, Priority, ResponseFuture, Shedder};

/// See [`ShedLayer`](super::ShedLayer).
#[derive(Clone)]
pub struct ShedService<S, P> {
    inner: S,
    shedder: Shedder,
    priority: P,
}

impl<S, P> ShedService<S, P> {
    pub(super) fn new(inner: S, shedder: Shedder, priority: P) -> Self {
        Self {
            inner,
            shedder,
            priority,
        }
    }
}

impl<S, P, R> Service<R> for ShedService<S, P>
where
    S: Service<R>,
    P: Fn(&R) -> Priority,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Whether there is room depends on the priority, which only the request tells.
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match self.shedder.enter((self.priority)(&request)) {
            Ok(place) => ResponseFuture::called(self.inner.call(request), place),
            Err(overloaded) => ResponseFuture::refused(overloaded),
        }
    }
}
