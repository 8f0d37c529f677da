//! A call through a rate limit, under way.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{Error, Refused};

pin_project! {
    /// The answer of a [`RateLimitService`](super::RateLimitService).
    pub struct ResponseFuture<F> {
        #[pin]
        step: Step<F>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F> {
        Called { #[pin] call: F },
        Refused { refused: Refused },
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn called(call: F) -> Self {
        let step = Step::Called { call };
        Self { step }
    }

    pub(super) fn refused(refused: Refused) -> Self {
        let step = Step::Refused { refused };
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
            StepProjection::Called { call } => call.poll(cx).map_err(Error::Inner),
            StepProjection::Refused { refused } => Poll::Ready(Err((*refused).into())),
        }
    }
}
