//! A call of a service, from inside a saga.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Command, Failure, Retry, Saga,
    attempts::{Attempts, Errand},
    command::topic,
    journal::Undo,
    run::Run,
};

/// How long a call may take unless it says so itself with [`Call::timeout`].
pub const CALL_LIMIT: Duration = Duration::from_secs(30);

/// A call of a service. Await it.
#[must_use = "nothing is sent until the call is awaited"]
pub struct Call<C: Command> {
    saga: Saga,
    command: C,
    undo: Option<EncodeUndo>,
    limit: Duration,
    retry: Retry,
    attempts: Option<Attempts>,
}

type EncodeUndo = Box<dyn FnOnce() -> serde_json::Result<Undo> + Send>;

impl<C: Command> Call<C> {
    pub(crate) fn new(saga: Saga, command: C) -> Self {
        Self {
            saga,
            command,
            undo: None,
            limit: CALL_LIMIT,
            retry: Retry::never(),
            attempts: None,
        }
    }

    /// The command that takes back what this call does, should the saga fail later.
    ///
    /// It is sent for a call that succeeded, and for one that did not answer in time: that one may have been done, or
    /// may yet be. So it **must do nothing for what never happened**, and leave a mark by which its original is refused
    /// should that come later. (One service handles both in the order in which they were sent, except when the
    /// original has become a dead letter and is replayed.) It is not sent for a call that was refused.
    pub fn undo<U: Command>(mut self, undo: U) -> Self {
        self.undo = Some(Box::new(move || {
            Ok(Undo {
                topic: topic::<U>(),
                data: serde_json::to_value(undo)?,
            })
        }));
        self
    }

    /// Gives each attempt `limit` to answer in, instead of [`CALL_LIMIT`].
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Tries again what fails in passing, instead of failing at once. See [`Retry`].
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }
}

// Nothing of it is ever pinned.
impl<C: Command> Unpin for Call<C> {}

impl<C: Command> Future for Call<C> {
    type Output = Result<C::Reply, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut run = this.saga.run();
        let (name, limit, command) = (topic::<C>(), this.limit, &this.command);
        if this.attempts.is_none() {
            let undo = this.undo.take();
            let sent = run.call(&name, limit, || {
                let undo = undo.map(|encode| encode()).transpose()?;
                Ok((serde_json::to_value(command)?, undo))
            });
            this.attempts = sent.map(Attempts::first);
        }
        let Some(attempts) = &mut this.attempts else {
            return Poll::Pending;
        };
        let again = |run: &mut Run, of| {
            let encode = || serde_json::to_value(command);
            run.call_again(of, &name, limit, encode)
        };
        let errand = Errand {
            name: &name,
            retry: &this.retry,
            again,
        };
        let Poll::Ready(answer) = attempts.poll(&mut run, cx, errand) else {
            return Poll::Pending;
        };
        attempts.finish(&mut run);
        match answer {
            Ok(reply) => read(&mut run, attempts.of(), &name, reply).map(Ok),
            Err(failure) => Poll::Ready(Err(failure)),
        }
    }
}

impl<C: Command> Drop for Call<C> {
    fn drop(&mut self) {
        if let Some(attempts) = &self.attempts {
            attempts.drop(&mut self.saga.run());
        }
    }
}

/// Reads what came back for `name`; what cannot be read halts the run.
pub(crate) fn read<T: DeserializeOwned>(
    run: &mut Run,
    seq: u32,
    name: &str,
    reply: Value,
) -> Poll<T> {
    match serde_json::from_value(reply) {
        Ok(reply) => Poll::Ready(reply),
        Err(error) => {
            let wanted = std::any::type_name::<T>();
            run.halt(format!(
                "what the journal has for step {seq}, `{name}`, cannot be read as the code's `{wanted}`: {error}"
            ));
            Poll::Pending
        }
    }
}
