//! The circuit breaker: stop calling what fails, and find out when it works again.
//!
//! Closed, calls pass and failures are counted. Open, calls are refused until the recovery time has passed. Half
//! open, a few probes pass; enough successes close the breaker, one failure opens it again. (M. Nygard, "Release
//! It!", chapter 5.)
//!
//! [`machine`] holds the rules, without clock or lock; [`Breaker`] is what callers share, and [`BreakerLayer`] puts
//! it before a service of tower. A closed breaker costs one atomic load to enter; a success that follows no failure
//! takes no lock, and reads no clock unless slow calls count.

mod error;
mod future;
mod gate;
mod layer;
pub mod machine;
mod service;
pub mod window;

use std::{borrow::Borrow, sync::Arc, time::Duration};

use env::Instant;
use tokio::sync::watch;

use self::gate::{Counted, Gate};
pub use self::{
    error::{Error, Open},
    future::ResponseFuture,
    layer::BreakerLayer,
    machine::{Machine, Rate, Settings, Slow, State, Ticket},
    service::BreakerService,
};
use crate::{
    chance,
    observe::{Decision, Reporter},
};

/// What `gate.rs` synchronizes with; a test puts loom's in its place.
mod sync {
    pub(super) use std::sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    };
}

/// A breaker that callers share. Cheap to clone.
#[derive(Clone)]
pub struct Breaker(Arc<Shared>);

struct Shared {
    reporter: Reporter,
    gate: Gate,
    slow: Option<Duration>,
    state: watch::Sender<State>,
}

impl Breaker {
    /// A closed breaker without a name.
    pub fn new(settings: Settings) -> Self {
        Self::reporting(settings, Reporter::default())
    }

    /// A closed breaker, named in the log for what it protects.
    pub fn named(name: &str, settings: Settings) -> Self {
        Self::reporting(settings, Reporter::silent(name))
    }

    /// A closed breaker that tells of its decisions by `reporter`. Changes of state are reported in their order, under
    /// a lock.
    pub fn reporting(settings: Settings, reporter: Reporter) -> Self {
        let machine = Machine::new(settings);
        Self(Arc::new(Shared {
            reporter,
            slow: machine.slow_threshold(),
            gate: Gate::new(machine, env::instant()),
            state: watch::Sender::new(State::Closed),
        }))
    }

    /// Asks to make a call. The permit must be told how it ended; dropped, the call counts as neither.
    ///
    /// # Errors
    /// [`Open`].
    pub fn enter(&self) -> Result<Permit<&Self>, Open> {
        Permit::of(self)
    }

    /// The same, for a call that is not bound to this place.
    ///
    /// # Errors
    /// [`Open`].
    pub fn enter_owned(&self) -> Result<Permit, Open> {
        Permit::of(self.clone())
    }

    fn ask(&self) -> Result<(Ticket, bool), Open> {
        let now = env::instant();
        let entered = self.0.with(now, |machine| {
            let ticket = machine.enter(now)?;
            Ok((ticket, machine.state() == State::HalfOpen))
        });
        entered.map_err(|retry_after| {
            self.0.reporter.report(Decision::BreakerRefused);
            Open { retry_after }
        })
    }

    /// Whether a call would be let through now, without asking for it and without a lock.
    pub fn is_available(&self) -> bool {
        self.is_available_at(env::instant)
    }

    /// Whether a call would be let through at the time that `now` reads, which it does only if the breaker is not
    /// closed: for who asks many.
    pub fn is_available_at(&self, now: impl FnOnce() -> Instant) -> bool {
        self.0.gate.is_available(now)
    }

    /// How long a call has to wait; zero if it would be let through now.
    pub fn wait(&self) -> Duration {
        self.0.gate.wait(env::instant)
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

impl Shared {
    /// Lets the machine `act`, and tells everybody when its state is another then.
    fn with<T>(&self, now: Instant, act: impl FnOnce(&mut Machine) -> T) -> T {
        self.gate.with(now, act, |from, to| {
            let breaker = self.reporter.name();
            match to {
                State::Open => tracing::warn!(breaker, ?from, "the circuit opens"),
                State::HalfOpen => tracing::info!(breaker, "the circuit is half open"),
                State::Closed => tracing::info!(breaker, "the circuit closes"),
            }
            self.state.send_replace(to);
            self.reporter.report(Decision::BreakerChanged { from, to });
        })
    }
}

/// The permission to make one call. A probe keeps its place until its permit is told or dropped, so a call must
/// end some time.
#[must_use = "tell it how the call ended"]
pub struct Permit<B: Borrow<Breaker> = Breaker> {
    breaker: B,
    ticket: Ticket,
    probe: bool,
    settled: bool,
    /// When the call began, if it matters how long it takes.
    begun: Option<Instant>,
}

impl<B: Borrow<Breaker>> Permit<B> {
    fn of(breaker: B) -> Result<Self, Open> {
        let asked = breaker.borrow();
        let (ticket, probe) = match asked.0.gate.pass() {
            Some(ticket) => (ticket, false),
            None => asked.ask()?,
        };
        Ok(Self {
            begun: asked.0.slow.map(|_| env::instant()),
            breaker,
            ticket,
            probe,
            settled: false,
        })
    }

    /// The call succeeded.
    pub fn succeeded(mut self) {
        self.settled = true;
        let (shared, ticket) = (self.shared(), self.ticket);
        if let (Some(begun), Some(threshold)) = (self.begun, shared.slow) {
            let now = env::instant();
            let slow = now.saturating_duration_since(begun) >= threshold;
            return shared.with(now, |machine| match slow {
                true => machine.slow(ticket, now, chance()),
                false => machine.succeeded(ticket, now),
            });
        }
        match shared.gate.counted(ticket) {
            Counted::Done => {}
            // The lock brings what was counted into the window.
            Counted::BatchIsFull => shared.with(env::instant(), |_| ()),
            Counted::Not => {
                let now = env::instant();
                shared.with(now, |machine| machine.succeeded(ticket, now));
            }
        }
    }

    /// The call failed.
    pub fn failed(mut self) {
        self.settled = true;
        let (ticket, now) = (self.ticket, env::instant());
        self.shared()
            .with(now, |machine| machine.failed(ticket, now, chance()));
    }

    fn shared(&self) -> &Shared {
        &self.breaker.borrow().0
    }
}

impl<B: Borrow<Breaker>> Drop for Permit<B> {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            let ticket = self.ticket;
            self.shared()
                .with(env::instant(), |machine| machine.abandoned(ticket));
        }
    }
}
