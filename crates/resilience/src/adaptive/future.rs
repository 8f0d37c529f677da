//! A call through an adaptive limit, under way.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{Ended, Error, Limited, Permit};

pin_project! {
    /// The answer of a [`AdaptiveService`](super::AdaptiveService). Dropped before it ends, the call says nothing
    /// of the load.
    pub struct ResponseFuture<F, C> {
        #[pin]
        step: Step<F, C>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F, C> {
        Called { #[pin] call: F, permit: Option<Permit>, ended: C },
        Refused { limited: Limited },
    }
}

impl<F, C> ResponseFuture<F, C> {
    pub(super) fn called(call: F, permit: Permit, ended: C) -> Self {
        let permit = Some(permit);
        let step = Step::Called {
            call,
            permit,
            ended,
        };
        Self { step }
    }

    pub(super) fn refused(limited: Limited) -> Self {
        let step = Step::Refused { limited };
        Self { step }
    }
}

impl<F, C, R, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<R, E>>,
    C: Fn(&Result<R, E>) -> Ended,
{
    type Output = Result<R, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().step.project() {
            StepProjection::Refused { limited } => Poll::Ready(Err((*limited).into())),
            StepProjection::Called {
                call,
                permit,
                ended,
            } => {
                let answer = ready!(call.poll(cx));
                if let Some(permit) = permit.take() {
                    permit.ended(ended(&answer));
                }
                Poll::Ready(answer.map_err(Error::Inner))
            }
        }
    }
}
