//! A request that was taken, or not.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{Error, Overloaded, Place};

pin_project! {
    /// The answer of a [`ShedService`](super::ShedService). Its place is free when it is dropped.
    pub struct ResponseFuture<F> {
        #[pin]
        step: Step<F>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F> {
        Called { #[pin] call: F, place: Place },
        Refused { overloaded: Overloaded },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn called(call: F, place: Place) -> Self {
        let step = Step::Called { call, place };
        Self { step }
    }

    pub(super) fn refused(overloaded: Overloaded) -> Self {
        let step = Step::Refused { overloaded };
        Self { step }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<R, E>>,
{
    type Output = Result<R, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().step.project() {
            StepProjection::Called { call, .. } => call.poll(cx).map_err(Error::Inner),
            StepProjection::Refused { overloaded } => Poll::Ready(Err((*overloaded).into())),
        }
    }
}
