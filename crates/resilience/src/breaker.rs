//! The circuit breaker: stop calling what fails, and find out when it works again.
//!
//! Closed, calls pass and failures are counted. Open, calls are refused until the recovery time has passed. Half
//! open, a few probes pass; enough successes close the breaker, one failure opens it again. (M. Nygard, "Release
//! It!", chapter 5.)
//!
//! [`machine`] holds the rules, without clock or lock; [`Breaker`] is what callers share, and [`BreakerLayer`] puts
//! it before a service of tower. A closed breaker costs one atomic load to enter.

mod error;
mod future;
mod layer;
pub mod machine;
mod service;
pub mod window;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

pub use self::{
    error::{Error, Open},
    future::ResponseFuture,
    layer::BreakerLayer,
    machine::{Machine, Rate, Settings, State, Ticket},
    service::BreakerService,
};

/// A breaker that callers share. Cheap to clone.
#[derive(Clone)]
pub struct Breaker(Arc<Shared>);

struct Shared {
    name: String,
    /// The ticket of the machine, and in the lowest bit whether it asks more of who enters.
    gate: AtomicU64,
    machine: Mutex<Machine>,
    state: watch::Sender<State>,
}

impl Breaker {
    /// A closed breaker without a name.
    pub fn new(settings: Settings) -> Self {
        Self::named("", settings)
    }

    /// A closed breaker, named in the log for what it protects.
    pub fn named(name: impl Into<String>, settings: Settings) -> Self {
        let machine = Machine::new(settings);
        Self(Arc::new(Shared {
            name: name.into(),
            gate: AtomicU64::new(gate(&machine)),
            machine: Mutex::new(machine),
            state: watch::Sender::new(State::Closed),
        }))
    }

    /// Asks to make a call. The permit must be told how it ended; dropped, the call counts as neither.
    ///
    /// # Errors
    /// [`Open`].
    pub fn enter(&self) -> Result<Permit, Open> {
        let gate = self.0.gate.load(Ordering::Acquire);
        let (ticket, probe) = if is_closed(gate) {
            (Ticket::numbered(gate >> 1), false)
        } else {
            let entered = self.0.with(|machine| {
                let ticket = machine.enter(env::instant())?;
                Ok((ticket, machine.state() == State::HalfOpen))
            });
            entered.map_err(|retry_after| Open { retry_after })?
        };
        Ok(Permit {
            breaker: self.clone(),
            ticket,
            probe,
            settled: false,
        })
    }

    /// Whether a call would be let through now, without asking for it.
    pub fn is_available(&self) -> bool {
        self.wait().is_zero()
    }

    /// How long a call has to wait; zero if it would be let through now.
    pub fn wait(&self) -> Duration {
        if is_closed(self.0.gate.load(Ordering::Acquire)) {
            return Duration::ZERO;
        }
        self.0.lock().wait(env::instant())
    }

    /// The state now. One that is open stays so until a call enters after the recovery.
    pub fn state(&self) -> State {
        *self.0.state.borrow()
    }

    /// Being told of each change of state.
    pub fn changes(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }
}

/// See [`Shared::gate`].
fn gate(machine: &Machine) -> u64 {
    machine.ticket().number() << 1 | u64::from(machine.state() != State::Closed)
}

fn is_closed(gate: u64) -> bool {
    gate & 1 == 0
}

impl Shared {
    /// Lets the machine `act`, and tells everybody when its state is another then.
    fn with<T>(&self, act: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.lock();
        let before = machine.state();
        let outcome = act(&mut machine);
        let after = machine.state();
        if before != after {
            self.changed(before, after);
            self.gate.store(gate(&machine), Ordering::Release);
        }
        outcome
    }

    fn changed(&self, before: State, after: State) {
        let breaker = &self.name;
        match after {
            State::Open => tracing::warn!(breaker, ?before, "the circuit opens"),
            State::HalfOpen => tracing::info!(breaker, "the circuit is half open"),
            State::Closed => tracing::info!(breaker, "the circuit closes"),
        }
        self.state.send_replace(after);
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        // The machine is whole between any two of its steps.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The permission to make one call. A probe keeps its place until its permit is told or dropped, so a call must
/// end some time.
#[must_use = "tell it how the call ended"]
pub struct Permit {
    breaker: Breaker,
    ticket: Ticket,
    probe: bool,
    settled: bool,
}

impl Permit {
    /// The call succeeded.
    pub fn succeeded(mut self) {
        self.settled = true;
        let ticket = self.ticket;
        self.breaker
            .0
            .with(|machine| machine.succeeded(ticket, env::instant()));
    }

    /// The call failed.
    pub fn failed(mut self) {
        self.settled = true;
        let ticket = self.ticket;
        let jitter = env::random().below(1 << 16) as f64 / f64::from(1 << 16);
        self.breaker
            .0
            .with(|machine| machine.failed(ticket, env::instant(), jitter));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            let ticket = self.ticket;
            self.breaker.0.with(|machine| machine.abandoned(ticket));
        }
    }
}
