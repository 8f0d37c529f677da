//! Waiting for a signal from outside, from inside a saga.

use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use events::Event;

use crate::{Failure, Saga, call::read, run::Answer};

/// How long a saga waits for a signal unless it says so itself with [`WaitFor::timeout`].
pub const SIGNAL_LIMIT: Duration = Duration::from_hours(7 * 24);

/// A wait for an event. Await it.
///
/// The service must [take in](crate::Sagas::signal_handler) events of the type. An event is given to one wait, the one
/// that began first among those of its type and key. One that comes before anybody waits for it is
/// [kept](crate::SIGNAL_DAYS).
#[must_use = "nothing is waited for until this is awaited"]
pub struct WaitFor<E> {
    saga: Saga,
    key: Option<String>,
    limit: Duration,
    seq: Option<u32>,
    heard: bool,
    event: PhantomData<fn() -> E>,
}

impl<E: Event> WaitFor<E> {
    pub(crate) fn new(saga: Saga) -> Self {
        Self {
            saga,
            key: None,
            limit: SIGNAL_LIMIT,
            seq: None,
            heard: false,
            event: PhantomData,
        }
    }

    /// Waits for an event with this key, instead of one with the saga's id for a key. No key has a NUL in it: a saga that waits
    /// for one is parked.
    pub fn keyed(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Waits for at most `limit`, instead of [`SIGNAL_LIMIT`]. After that the wait has failed with the code
    /// [`timeout`](crate::failure::TIMEOUT), past the point of no return too.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

impl<E> Unpin for WaitFor<E> {}

impl<E: Event> Future for WaitFor<E> {
    type Output = Result<E, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut run = this.saga.run();
        if this.seq.is_none() {
            this.seq = run.wait(E::TYPE, this.key.as_deref(), this.limit);
        }
        let Some(seq) = this.seq else {
            return Poll::Pending;
        };
        let answer = run.answer(seq, cx);
        this.heard = answer.is_some();
        match answer {
            None => Poll::Pending,
            Some(Answer::Replied(data)) => read(&mut run, seq, E::TYPE, data).map(Ok),
            Some(Answer::Refused(failure)) => Poll::Ready(Err(failure)),
            Some(Answer::Elapsed) => Poll::Ready(Err(Failure::timeout(E::TYPE))),
        }
    }
}

impl<E> Drop for WaitFor<E> {
    fn drop(&mut self) {
        if let Some(seq) = self.seq.filter(|_| !self.heard) {
            self.saga.run().abandon(seq);
        }
    }
}
