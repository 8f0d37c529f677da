//! A call, and perhaps what answers in its place.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{Error, FallbackLayer};
use crate::observe::Decision;

pin_project! {
    /// The answer of a [`FallbackService`](super::FallbackService).
    pub struct ResponseFuture<F, G, C, A, R, E> {
        #[pin]
        step: Step<F, G>,
        failure: Option<Result<R, E>>,
        layer: FallbackLayer<C, A>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F, G> {
        Called { #[pin] call: F },
        FallingBack { #[pin] answer: G },
    }
}

impl<F, G, C, A, R, E> ResponseFuture<F, G, C, A, R, E> {
    pub(super) fn new(call: F, layer: FallbackLayer<C, A>) -> Self {
        Self {
            step: Step::Called { call },
            failure: None,
            layer,
        }
    }
}

impl<F, G, C, A, R, E> Future for ResponseFuture<F, G, C, A, R, E>
where
    F: Future<Output = Result<R, E>>,
    G: Future<Output = Option<R>>,
    C: Fn(&Result<R, E>) -> bool,
    A: Fn(&Result<R, E>) -> G,
{
    type Output = Result<R, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.step.as_mut().project() {
                StepProjection::Called { call } => {
                    let ended = ready!(call.poll(cx));
                    if !(this.layer.is_failure)(&ended) {
                        return Poll::Ready(ended.map_err(Error));
                    }
                    let answer = (this.layer.answer)(&ended);
                    *this.failure = Some(ended);
                    this.step.set(Step::FallingBack { answer });
                }
                StepProjection::FallingBack { answer } => {
                    if let Some(answer) = ready!(answer.poll(cx)) {
                        this.layer.reporter.report(Decision::FellBack);
                        return Poll::Ready(Ok(answer));
                    }
                    let failure = this.failure.take();
                    let failure = failure
                        .expect("a fallback follows a failure, and is polled to its end once");
                    return Poll::Ready(failure.map_err(Error));
                }
            }
        }
    }
}
