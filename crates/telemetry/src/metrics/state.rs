//! What is, rather than what happened: the outbox, what could not be handled, what is missing, the sagas, the circuit breakers,
//! and whether the data are as they must be.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
};

use super::{Metrics, Named};

/// The state of a circuit breaker as a number: what is worse is higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    /// Calls pass. 0.
    Closed,
    /// A few calls pass, to see whether they succeed. 1.
    HalfOpen,
    /// No call passes. 2.
    Open,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Target {
    server_address: String,
    instance: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Progress {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rule {
    invariant: String,
}

pub(super) struct Families {
    outbox: Gauge,
    outbox_lag: Gauge<f64, AtomicU64>,
    outbox_refused: Gauge,
    deferred: Gauge,
    dead: Gauge,
    missing: Gauge,
    sagas: Family<Progress, Gauge>,
    breakers: Family<Target, Gauge>,
    violated: Family<Rule, Gauge>,
}

impl Families {
    pub(super) fn register(registry: &mut Named) -> Self {
        Self {
            outbox: registry.own(
                "outrigger_outbox_messages",
                "Messages that are committed and not yet accepted by the bus",
                Gauge::default(),
            ),
            outbox_lag: registry.own(
                "outrigger_outbox_lag_seconds",
                "Age of the oldest message that is committed and not yet accepted by the bus; 0 when there is none",
                Gauge::default(),
            ),
            outbox_refused: registry.own(
                "outrigger_outbox_refused_messages",
                "Messages that are set aside because they cannot be sent",
                Gauge::default(),
            ),
            deferred: registry.own(
                "outrigger_deferred_events",
                "Events that could not be handled and are tried again, and those that wait behind one that could not be",
                Gauge::default(),
            ),
            dead: registry.own(
                "outrigger_dead_letters",
                "Events that could not be handled and wait for an operator",
                Gauge::default(),
            ),
            missing: registry.own(
                "outrigger_missing_events",
                "Events that the bus has lost: later ones of their key have come",
                Gauge::default(),
            ),
            sagas: registry.own(
                "outrigger_sagas",
                "Sagas that have not ended, by their state; what is parked waits for an operator",
                Family::default(),
            ),
            breakers: registry.own(
                "outrigger_circuit_breaker_state",
                "State of the circuit breaker of an instance, or of a whole service where none is named: 0 closed, 1 half-open, 2 open",
                Family::default(),
            ),
            violated: registry.own(
                "outrigger_invariant_violated",
                "Whether an invariant is violated, and of the same thing for longer than it may be: 1 violated, 0 not",
                Family::default(),
            ),
        }
    }
}

impl Metrics {
    /// So many messages are committed and wait to be accepted by the bus.
    pub fn outbox_backlog(&self, messages: u64) {
        count(&self.inner.state.outbox, messages);
    }

    /// The oldest of those is so old.
    pub fn outbox_lag(&self, age: Duration) {
        self.inner.state.outbox_lag.set(age.as_secs_f64());
    }

    /// So many messages cannot be sent and are set aside.
    pub fn outbox_refused(&self, messages: u64) {
        count(&self.inner.state.outbox_refused, messages);
    }

    /// So many events are tried again or wait for their turn.
    pub fn deferred_events(&self, events: u64) {
        count(&self.inner.state.deferred, events);
    }

    /// So many events wait for an operator.
    pub fn dead_letters(&self, events: u64) {
        count(&self.inner.state.dead, events);
    }

    /// So many events are known to be missing.
    pub fn missing_events(&self, events: u64) {
        count(&self.inner.state.missing, events);
    }

    /// So many sagas are in this state, which is no end.
    pub fn sagas(&self, state: &'static str, sagas: u64) {
        let gauge = self.inner.state.sagas.get_or_create(&Progress { state });
        count(&gauge, sagas);
    }

    /// The breaker for `instance` of the service `target`, or for all of it where that is empty, is in `state` now.
    pub fn breaker(&self, target: &str, instance: &str, state: Breaker) {
        let level = match state {
            Breaker::Closed => 0,
            Breaker::HalfOpen => 1,
            Breaker::Open => 2,
        };
        let labels = Target::new(target, instance);
        self.inner.state.breakers.get_or_create(&labels).set(level);
    }

    /// The invariant of this name, which the system declares, is violated for longer than it may be, or is not.
    pub fn invariant(&self, name: &str, is_violated: bool) {
        let invariant = name.to_owned();
        let gauge = self.inner.state.violated.get_or_create(&Rule { invariant });
        gauge.set(is_violated.into());
    }

    /// `instance` is gone, and its breaker's series with it.
    pub fn forget_breaker(&self, target: &str, instance: &str) {
        let labels = Target::new(target, instance);
        self.inner.state.breakers.remove(&labels);
    }
}

/// Has a gauge show `number`, which may be more than it can.
fn count(gauge: &Gauge, number: u64) {
    gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
}

impl Target {
    fn new(target: &str, instance: &str) -> Self {
        Self {
            server_address: target.to_owned(),
            instance: instance.to_owned(),
        }
    }
}
