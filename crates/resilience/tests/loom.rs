//! The gate of the breaker in every order that threads can take, by loom. It runs with the other tests, in a second:
//! `gate.rs` is compiled here once more, with the atomics of loom.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "the file is a part of the crate, compiled alone"
)]

mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    };
}

use outrigger_resilience::breaker::machine;

#[path = "../src/breaker/gate.rs"]
mod gate;

use std::time::Duration;

use env::Instant;
use gate::{Counted, Gate};
use loom::{sync::Arc, thread};
use machine::{Machine, Rate, Settings, State, Ticket};

fn settings() -> Settings {
    Settings {
        failures: 1,
        rate: None,
        slow: None,
        recovery: Duration::from_secs(5),
        recovery_limit: Duration::from_secs(5),
        probes: 1,
        successes: 1,
    }
}

fn enter(gate: &Gate, now: Instant) -> Option<Ticket> {
    gate.pass()
        .or_else(|| gate.with(now, |machine| machine.enter(now).ok(), |_, _| ()))
}

fn succeed(gate: &Gate, ticket: Ticket, now: Instant) {
    if gate.counted(ticket) == Counted::Not {
        gate.with(now, |machine| machine.succeeded(ticket, now), |_, _| ());
    }
}

fn fail(gate: &Gate, ticket: Ticket, now: Instant) {
    gate.with(now, |machine| machine.failed(ticket, now, 0.0), |_, _| ());
}

fn state(gate: &Gate, now: Instant) -> State {
    gate.with(now, |machine| machine.state(), |_, _| ())
}

/// Once a failure has opened it, no thread passes that sees so; what succeeds late does not close it.
#[test]
fn an_open_gate_lets_nobody_through() {
    let now = env::instant();
    loom::model(move || {
        let gate = Arc::new(Gate::new(Machine::new(settings()), now));
        let other = Arc::clone(&gate);
        let late = enter(&gate, now).expect("closed");
        let failing = thread::spawn(move || {
            if let Some(ticket) = enter(&other, now) {
                fail(&other, ticket, now);
                assert!(enter(&other, now).is_none(), "it has just opened");
            }
        });
        succeed(&gate, late, now);
        failing.join().expect("joined");
        assert_eq!(state(&gate, now), State::Open);
        assert!(gate.pass().is_none());
    });
}

/// After the recovery one probe passes, whoever comes; and its success closes the gate for everybody.
#[test]
fn one_probe_passes_and_closes_it_for_all() {
    let begun = env::instant();
    loom::model(move || {
        let gate = Arc::new(Gate::new(Machine::new(settings()), begun));
        let ticket = enter(&gate, begun).expect("closed");
        fail(&gate, ticket, begun);
        let now = begun + Duration::from_secs(6);
        let other = Arc::clone(&gate);
        let probing = thread::spawn(move || enter(&other, now));
        let mine = enter(&gate, now);
        let theirs = probing.join().expect("joined");
        assert!(mine.is_some() ^ theirs.is_some(), "one of the two");
        let probe = mine.or(theirs).expect("one of the two");
        succeed(&gate, probe, now);
        assert_eq!(state(&gate, now), State::Closed);
        assert!(gate.pass().is_some());
    });
}

/// A success that is counted aside is not lost: it comes into the window with whatever takes the lock next.
#[test]
fn successes_that_are_counted_aside_keep_the_share_small() {
    let now = env::instant();
    loom::model(move || {
        let rate = Rate {
            failures: 0.5,
            window: Duration::from_secs(10),
            calls: 1,
        };
        let gate = Arc::new(Gate::new(
            Machine::new(Settings {
                failures: 9,
                rate: Some(rate),
                ..settings()
            }),
            now,
        ));
        let threads = [(); 2].map(|()| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                let ticket = enter(&gate, now).expect("closed");
                succeed(&gate, ticket, now);
            })
        });
        for thread in threads {
            thread.join().expect("joined");
        }
        let ticket = enter(&gate, now).expect("closed");
        fail(&gate, ticket, now);
        assert_eq!(state(&gate, now), State::Closed, "one of three failed");
    });
}

/// A probe that is given up makes room for the next, whoever asks meanwhile.
#[test]
fn a_probe_that_is_given_up_makes_room() {
    let begun = env::instant();
    loom::model(move || {
        let gate = Arc::new(Gate::new(Machine::new(settings()), begun));
        let ticket = enter(&gate, begun).expect("closed");
        fail(&gate, ticket, begun);
        let now = begun + Duration::from_secs(6);
        let probe = enter(&gate, now).expect("the first probe");
        let other = Arc::clone(&gate);
        let asking = thread::spawn(move || (other.is_available(|| now), enter(&other, now)));
        gate.with(now, |machine| machine.abandoned(probe), |_, _| ());
        let (seen, entered) = asking.join().expect("joined");
        assert!(!seen || entered.is_some(), "nobody else has asked");
        assert_eq!(gate.is_available(|| now), entered.is_none());
        let next = entered.or_else(|| enter(&gate, now));
        succeed(&gate, next.expect("one of the two"), now);
        assert!(gate.pass().is_some(), "closed again");
    });
}
