//! A saga that is a step of another one.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    Failure, Input, Retry, Saga,
    attempts::{Attempts, Errand},
    run::Run,
};

/// A child saga, from the inside of its parent. Await it.
#[must_use = "nothing is started until the child is awaited"]
pub struct Child<I: Input> {
    saga: Saga,
    input: I,
    limit: Option<Duration>,
    attempts: Option<Attempts>,
}

impl<I: Input> Child<I> {
    pub(crate) fn new(saga: Saga, input: I) -> Self {
        Self {
            saga,
            input,
            limit: None,
            attempts: None,
        }
    }

    /// Gives the child `limit` to end in. Otherwise it has as long as it takes, or as its own deadline says.
    ///
    /// A child that did not end in time is told to undo itself when this saga has ended. Past the point of no return,
    /// where there is no other way than through the child, the limit has no effect.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }
}

// Nothing of it is ever pinned.
impl<I: Input> Unpin for Child<I> {}

impl<I: Input> Future for Child<I> {
    type Output = Result<(), Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut run = this.saga.run();
        let input = &this.input;
        // Whoever started another one when the time is over would have two of them.
        let limit = this.limit.filter(|_| !run.has_passed_return());
        let encode = || serde_json::to_value(input);
        if this.attempts.is_none() {
            this.attempts = run.child(I::SAGA, limit, encode).map(Attempts::first);
        }
        let Some(attempts) = &mut this.attempts else {
            return Poll::Pending;
        };
        let errand = Errand {
            name: I::SAGA,
            retry: &Retry::never(),
            again: |run: &mut Run, of| run.child_again(of, I::SAGA, limit, encode),
        };
        let Poll::Ready(answer) = attempts.poll(&mut run, cx, errand) else {
            return Poll::Pending;
        };
        attempts.finish(&mut run);
        Poll::Ready(answer.map(drop))
    }
}

impl<I: Input> Drop for Child<I> {
    fn drop(&mut self) {
        if let Some(attempts) = &self.attempts {
            attempts.drop(&mut self.saga.run());
        }
    }
}
