//! A call through a breaker, under way.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{Error, Open, Permit};

/// The answer of a [`BreakerService`](super::BreakerService). Dropped before it ends, the call counts as neither
/// success nor failure.
pub struct ResponseFuture<F, C>(Step<F, C>);

enum Step<F, C> {
    Called {
        call: Pin<Box<F>>,
        permit: Option<Permit>,
        is_failure: C,
    },
    Refused(Open),
}

impl<F, C> ResponseFuture<F, C> {
    pub(super) fn called(call: F, permit: Permit, is_failure: C) -> Self {
        Self(Step::Called {
            call: Box::pin(call),
            permit: Some(permit),
            is_failure,
        })
    }

    pub(super) fn refused(open: Open) -> Self {
        Self(Step::Refused(open))
    }
}

impl<F, C, R, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<R, E>>,
    C: Fn(&Result<R, E>) -> bool + Unpin,
{
    type Output = Result<R, Error<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Step::Refused(open) => Poll::Ready(Err((*open).into())),
            Step::Called {
                call,
                permit,
                is_failure,
            } => {
                let ended = ready!(call.as_mut().poll(cx));
                match permit.take() {
                    Some(permit) if is_failure(&ended) => permit.failed(),
                    Some(permit) => permit.succeeded(),
                    None => {}
                }
                Poll::Ready(ended.map_err(Error::Inner))
            }
        }
    }
}
