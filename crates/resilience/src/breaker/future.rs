//! A call through a breaker, under way.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{Error, Open, Permit};

pin_project! {
    /// The answer of a [`BreakerService`](super::BreakerService). Dropped before it ends, the call counts as neither
    /// success nor failure.
    pub struct ResponseFuture<F, C> {
        #[pin]
        step: Step<F, C>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F, C> {
        Called { #[pin] call: F, permit: Option<Permit>, is_failure: C },
        Refused { open: Open },
    }
}

impl<F, C> ResponseFuture<F, C> {
    pub(super) fn called(call: F, permit: Permit, is_failure: C) -> Self {
        let permit = Some(permit);
        let step = Step::Called {
            call,
            permit,
            is_failure,
        };
        Self { step }
    }

    pub(super) fn refused(open: Open) -> Self {
        let step = Step::Refused { open };
        Self { step }
    }
}

impl<F, C, R, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<R, E>>,
    C: Fn(&Result<R, E>) -> bool,
{
    type Output = Result<R, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().step.project() {
            StepProjection::Refused { open } => Poll::Ready(Err((*open).into())),
            StepProjection::Called {
                call,
                permit,
                is_failure,
            } => {
                let ended = ready!(call.poll(cx));
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
