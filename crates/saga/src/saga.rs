//! The handle that the function of a saga gets: all that it may do.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use env::{Timestamp, Uuid};
use events::Event;

use crate::{Call, Child, Command, Input, WaitFor, run::Run};

/// A saga from the inside: what its function is given, and its only way to have an effect. Cheap to clone.
///
/// The function runs many times, and must do the same each time: what it needs of time and chance comes from
/// [`now`](Self::now), [`id`](Self::id) and [`random`](Self::random), and it awaits nothing but what comes from here.
/// `futures::join!`, `try_join!` and `select_biased!` are fine (an unbiased `select!` throws dice): the branches take
/// their turns in the order in which they were answered, in every run.
///
/// A call, or a child, that the function drops before it has heard the answer is undone when the saga ends, even if
/// that is with success: it was begun, and nobody knows of it any more.
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
    /// it gives, or the [`Failure`](crate::Failure) with which the service refused.
    ///
    /// A step that does not answer in [`CALL_LIMIT`](crate::CALL_LIMIT) has failed with the code
    /// [`timeout`](crate::failure::TIMEOUT). When that time is over, or the [deadline](Self::deadline) of the saga, the
    /// command has expired too: a service that comes to it only then does not do it, and says so, with the code
    /// [`expired`](crate::failure::EXPIRED).
    pub fn call<C: Command>(&self, command: C) -> Call<C> {
        Call::new(self.clone(), command)
    }

    /// Starts a saga of this service as a step of this one, and waits for its end: `Ok` when it completed, or the
    /// failure with which it was compensated.
    ///
    /// Should this saga fail later, the child is undone as a step is: it takes back what it did, even if it had
    /// completed. Its id is that of this saga, `/`, and the step.
    pub fn child<I: Input>(&self, input: I) -> Child<I> {
        Child::new(self.clone(), input)
    }

    /// Waits for an event from outside that has the saga's id for its key; see [`WaitFor`].
    pub fn wait_for<E: Event>(&self) -> WaitFor<E> {
        WaitFor::new(self.clone())
    }

    /// Waits, for days if need be: the timer is in the database.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep {
            saga: self.clone(),
            duration,
            seq: None,
        }
    }

    /// Gives the whole saga `limit` to end in, from now. After that its function is run no further, and what it did is
    /// undone, with the code [`deadline`](crate::failure::DEADLINE). Past the point of no return it has no effect.
    ///
    /// Of several deadlines the earliest counts. Commands that are sent before it expire with it, and children inherit
    /// it.
    pub fn deadline(&self, limit: Duration) {
        self.run().deadline(limit);
    }

    /// From here on the saga only goes forward: nothing that it did is undone any more, and it can neither be cancelled
    /// nor miss its deadline.
    ///
    /// A call that is made from here on never fails: when it does not answer in time, or is refused, it is made again,
    /// as its [retry policy](Call::retry) says, and otherwise as often as an undo is. After that the saga is parked
    /// until an operator retries or skips the step. A function that fails of its own accord past this point is parked
    /// too.
    pub fn point_of_no_return(&self) {
        self.run().pass_return();
    }

    /// Whether to go the newer way at a change of the code, so that sagas under way go on as they began:
    ///
    /// ```
    /// # use outrigger_saga as saga;
    /// # use saga::{Command, Failure, Saga};
    /// # use events::{JsonSchema, schemars};
    /// # #[derive(serde::Serialize, serde::Deserialize, JsonSchema, Command)]
    /// # #[command("fraud-service", "check-order", crate = saga)]
    /// # struct CheckOrder;
    /// # async fn place_order(saga: Saga, _: ()) -> Result<(), Failure> {
    /// if saga.version("fraud-check") {
    ///     saga.call(CheckOrder).await?; // new
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// True for a saga that comes here for the first time, false for one that has been past this point without the
    /// gate. What is answered first for a name counts for the whole saga. Once no saga is left from before, the gate
    /// and the older way can be taken out of the code.
    pub fn version(&self, name: &str) -> bool {
        self.run().version(name)
    }

    /// The time when this was first asked; the same in every run.
    pub fn now(&self) -> Timestamp {
        self.run().record("time", |fresh| fresh.now())
    }

    /// A new id (UUIDv7); the same in every run.
    pub fn id(&self) -> Uuid {
        self.run().record("id", |fresh| fresh.id())
    }

    /// 64 random bits; the same in every run.
    pub fn random(&self) -> u64 {
        self.run().record("random number", |fresh| fresh.random())
    }
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

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(seq) = self.seq {
            self.saga.run().leave(seq);
        }
    }
}
