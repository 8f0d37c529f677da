//! A call through a rate limit, under way.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::{Error, Refused};

/// The answer of a [`RateLimitService`](super::RateLimitService).
pub struct ResponseFuture<F>(Step<F>);

enum Step<F> {
    Called(Pin<Box<F>>),
    Refused(Refused),
}

impl<F> ResponseFuture<F> {
    pub(super) fn called(call: F) -> Self {
        Self(Step::Called(Box::pin(call)))
    }

    pub(super) fn refused(refused: Refused) -> Self {
        Self(Step::Refused(refused))
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<R, E>>,
{
    type Output = Result<R, Error<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Step::Called(call) => call.as_mut().poll(cx).map_err(Error::Inner),
            Step::Refused(refused) => Poll::Ready(Err((*refused).into())),
        }
    }
}
