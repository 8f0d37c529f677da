//! The handle that the function of a saga gets: all that it may do.

use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use env::{Timestamp, Uuid};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Command, Failure,
    command::topic,
    journal::{Deed, Undo},
    run::{Answer, Fresh, Run},
};

/// How long a call may take unless it says so itself with [`Call::timeout`].
pub const CALL_LIMIT: Duration = Duration::from_secs(30);

/// A saga from the inside: what its function is given, and its only way to have an effect. Cheap to clone.
///
/// The function runs many times, and must do the same each time: what it needs of time and chance comes from
/// [`now`](Self::now), [`id`](Self::id) and [`random`](Self::random), and it awaits nothing but what comes from here.
/// `futures::join!`, `try_join!` and `select_biased!` are fine (an unbiased `select!` throws dice).
#[derive(Clone)]
pub struct Saga {
    run: Arc<Mutex<Run>>,
}

impl Saga {
    pub(crate) fn new(run: Run) -> Self {
        Self {
            run: Arc::new(Mutex::new(run)),
        }
    }

    pub(crate) fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a service do something. The command is sent when the call is first polled, and its reply is what awaiting
    /// it gives, or the [`Failure`] with which the service refused.
    ///
    /// A step that does not answer in [`CALL_LIMIT`] has failed with the code [`timeout`](crate::failure::TIMEOUT).
    pub fn call<C: Command>(&self, command: C) -> Call<C> {
        Call {
            saga: self.clone(),
            stage: Stage::Unsent {
                command,
                undo: None,
            },
            limit: CALL_LIMIT,
        }
    }

    /// Waits, for days if need be: the timer is in the database.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep {
            saga: self.clone(),
            duration,
            seq: None,
        }
    }

    /// The time when this was first asked; the same in every run.
    pub fn now(&self) -> Timestamp {
        self.run().record("time", |fresh| fresh.now())
    }

    /// A new id (UUIDv7); the same in every run.
    pub fn id(&self) -> Uuid {
        self.run().record("id", Fresh::id)
    }

    /// 64 random bits; the same in every run.
    pub fn random(&self) -> u64 {
        self.run().record("random number", Fresh::random)
    }
}

/// A call of a service. Await it.
#[must_use = "nothing is sent until the call is awaited"]
pub struct Call<C: Command> {
    saga: Saga,
    stage: Stage<C>,
    limit: Duration,
}

type EncodeUndo = Box<dyn FnOnce() -> serde_json::Result<Undo> + Send>;

enum Stage<C> {
    Unsent {
        command: C,
        undo: Option<EncodeUndo>,
    },
    Sent(u32),
    /// The run was halted before it could be sent.
    Never(PhantomData<C>),
}

impl<C: Command> Call<C> {
    /// The command that takes back what this call does, should the saga fail later.
    ///
    /// It is sent for a call that succeeded, and for one that did not answer in time: that one may have been done, or
    /// may yet be. So it **must do nothing for what never happened**, and leave a mark by which its original is refused
    /// should that come later. (One service handles both in the order in which they were sent, except when the
    /// original has become a dead letter and is replayed.) It is not sent for a call that was refused.
    pub fn undo<U: Command>(mut self, undo: U) -> Self {
        if let Stage::Unsent { undo: place, .. } = &mut self.stage {
            *place = Some(Box::new(move || {
                Ok(Undo {
                    topic: topic::<U>(),
                    data: serde_json::to_value(undo)?,
                })
            }));
        }
        self
    }

    /// Gives the step `limit` to answer in, instead of [`CALL_LIMIT`].
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = limit;
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
        if let Stage::Unsent { .. } = this.stage {
            let unsent = std::mem::replace(&mut this.stage, Stage::Never(PhantomData));
            if let Stage::Unsent { command, undo } = unsent
                && let Some(seq) = run.call(&topic::<C>(), this.limit, || encode(&command, undo))
            {
                this.stage = Stage::Sent(seq);
            }
        }
        let Stage::Sent(seq) = this.stage else {
            return Poll::Pending;
        };
        match run.answer(seq, cx) {
            None => Poll::Pending,
            Some(Answer::Replied(reply)) => read::<C>(&mut run, seq, reply),
            Some(Answer::Refused(failure)) => Poll::Ready(Err(failure)),
            Some(Answer::Elapsed) => Poll::Ready(Err(Failure::timeout(&topic::<C>()))),
        }
    }
}

fn encode<C: Serialize>(
    command: &C,
    undo: Option<EncodeUndo>,
) -> serde_json::Result<(Value, Option<Undo>)> {
    let undo = undo.map(|encode| encode()).transpose()?;
    Ok((serde_json::to_value(command)?, undo))
}

fn read<C: Command>(run: &mut Run, seq: u32, reply: Value) -> Poll<Result<C::Reply, Failure>> {
    match decode::<C::Reply>(reply) {
        Ok(reply) => Poll::Ready(Ok(reply)),
        Err(error) => {
            let (call, wanted) = (topic::<C>(), std::any::type_name::<C::Reply>());
            run.halt(format!(
                "the journal's reply to {} at {seq} cannot be read as the code's `{wanted}`: {error}",
                Deed::Call(&call),
            ));
            Poll::Pending
        }
    }
}

fn decode<T: DeserializeOwned>(value: Value) -> serde_json::Result<T> {
    serde_json::from_value(value)
}

/// A wait. Await it.
#[must_use = "no time passes until the sleep is awaited"]
pub struct Sleep {
    saga: Saga,
    duration: Duration,
    seq: Option<u32>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut run = this.saga.run();
        if this.seq.is_none() {
            this.seq = run.sleep(this.duration);
        }
        match this.seq.and_then(|seq| run.answer(seq, cx)) {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    }
}
