//! The circuit breaker: stop calling what fails, and find out when it works again.
//!
//! Closed, calls pass and failures are counted. Open, calls are refused until the recovery time has passed. Half
//! open, a few probes pass; enough successes close the breaker, one failure opens it again. (M. Nygard, "Release
//! It!", chapter 5.)
//!
//! [`machine`] holds the rules, without clock or lock; [`Breaker`] is what callers share. A closed breaker costs one
//! atomic load to enter.

pub mod machine;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

pub use self::machine::{Machine, Settings, State};

/// Refused: the breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit is open; try again in {} ms", retry_after.as_millis())]
pub struct Open {
    /// When to try again.
    pub retry_after: Duration,
}

/// A breaker that callers share. Cheap to clone.
#[derive(Clone)]
pub struct Breaker(Arc<Shared>);

struct Shared {
    /// Whether the machine is closed and has nothing to say to who enters.
    closed: AtomicBool,
    machine: Mutex<Machine>,
    state: watch::Sender<State>,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Shared {
            closed: AtomicBool::new(true),
            machine: Mutex::new(Machine::new(settings)),
            state: watch::Sender::new(State::Closed),
        }))
    }

    /// Asks to make a call. The permit must be told how it ended; dropped, the call counts as neither.
    ///
    /// # Errors
    /// [`Open`].
    pub fn enter(&self) -> Result<Permit, Open> {
        if !self.0.closed.load(Ordering::Acquire) {
            self.with(|machine| machine.enter(env::instant()))
                .map_err(|retry_after| Open { retry_after })?;
        }
        Ok(Permit {
            breaker: self.clone(),
            settled: false,
        })
    }

    /// Whether a call would be let through now, without asking for it.
    pub fn is_available(&self) -> bool {
        self.0.closed.load(Ordering::Acquire) || self.0.lock().would_enter(env::instant())
    }

    /// The state now.
    pub fn state(&self) -> State {
        *self.0.state.borrow()
    }

    /// Being told of each change of state.
    pub fn changes(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.0.lock();
        let outcome = act(&mut machine);
        let state = machine.state();
        self.0
            .closed
            .store(state == State::Closed, Ordering::Release);
        self.0
            .state
            .send_if_modified(|known| std::mem::replace(known, state) != state);
        outcome
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Machine> {
        // The machine is whole between any two of its steps.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The permission to make one call.
#[must_use = "tell it how the call ended"]
pub struct Permit {
    breaker: Breaker,
    settled: bool,
}

impl Permit {
    /// The call succeeded.
    pub fn succeeded(mut self) {
        self.settled = true;
        self.breaker.with(Machine::succeeded);
    }

    /// The call failed.
    pub fn failed(mut self) {
        self.settled = true;
        let jitter = env::random().below(1 << 16) as f64 / f64::from(1 << 16);
        self.breaker
            .with(|machine| machine.failed(env::instant(), jitter));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            self.breaker.with(Machine::abandoned);
        }
    }
}
