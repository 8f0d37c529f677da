//! The measure of an instance, what is known of it and the state of a pool, in every order that threads can take, by loom.
//! It runs with the other tests: `load.rs`, `condition.rs` and `vitals.rs` are compiled here once more, with the atomics of
//! loom.

#![allow(dead_code, reason = "the files are parts of the crate, compiled alone")]

mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    };
}

#[path = "../src/balance/load.rs"]
#[allow(unreachable_pub, reason = "public in the crate")]
mod load;

/// As the files name it.
mod balance {
    pub(crate) use super::load;
}

#[path = "../src/upstream/condition.rs"]
mod condition;

#[path = "../src/upstream/vitals.rs"]
mod vitals;

use std::time::Duration;

use condition::{Condition, Ended};
use load::PeakEwma;
use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use outrigger_discovery::{health, outlier};
use resilience::observe::Reporter;
use vitals::{Census, Vitals};

/// Of two answers at once, the slower one is what is known afterwards, whoever writes last.
#[test]
fn no_peak_is_lost_between_threads() {
    let now = env::instant();
    loom::model(move || {
        let load = Arc::new(PeakEwma::new(now));
        let threads = [5, 900].map(|millis| {
            let load = Arc::clone(&load);
            thread::spawn(move || load.answered(Duration::from_millis(millis), now))
        });
        for thread in threads {
            thread.join().expect("joined");
        }
        let seconds = load.seconds(now).expect("it has answered");
        assert!((seconds - 0.9).abs() < 0.001, "{seconds}");
    });
}

/// Who looked at the instances before one was left out does not hide that from who picks after it.
#[test]
fn no_change_is_hidden_by_who_looked_before_it() {
    let now = env::instant();
    loom::model(move || {
        let (vitals, well) = (Arc::new(Vitals::new(now)), Arc::new(AtomicBool::new(true)));
        let look = |well: &AtomicBool| Census {
            near: (0, 0),
            panics: !well.load(Ordering::Relaxed),
        };
        let (picked, seen) = (Arc::clone(&vitals), Arc::clone(&well));
        let picking = thread::spawn(move || picked.at(now, || look(&seen)).panics);
        well.store(false, Ordering::Relaxed);
        vitals.changed();
        assert!(
            vitals.at(now, || look(&well)).panics,
            "a pick after the change"
        );
        picking.join().expect("joined");
        assert!(vitals.at(now, || look(&well)).panics, "and each after that");
    });
}

fn condition(now: env::Instant) -> Arc<Condition> {
    Arc::new(Condition::new(now, false, Reporter::default()))
}

/// Calls that end while the instances are compared are in this comparison or in the next, and in no more than one.
#[test]
fn no_call_is_lost_between_two_comparisons() {
    let now = env::instant();
    loom::model(move || {
        let condition = condition(now);
        let calls = [Ended::Well, Ended::Badly].map(|how| {
            let condition = Arc::clone(&condition);
            thread::spawn(move || condition.count(how, Duration::from_millis(5), now))
        });
        let first = condition.take_tally();
        for call in calls {
            call.join().expect("joined");
        }
        let all = first.plus(condition.take_tally());
        let (calls, failures) = (2, 1);
        assert_eq!(all, outlier::Tally { calls, failures });
    });
}

/// Of failures at once, one is the last of the row: where two are enough, one of the two ejects.
#[test]
fn failures_at_once_are_counted_one_after_the_other() {
    let now = env::instant();
    loom::model(move || {
        let condition = condition(now);
        let calls = [(); 2].map(|()| {
            let condition = Arc::clone(&condition);
            thread::spawn(move || {
                condition.begun();
                let row = condition.count(Ended::Badly, Duration::from_millis(5), now);
                condition.ended();
                row
            })
        });
        let mut rows = calls.map(|call| call.join().expect("joined"));
        rows.sort_unstable();
        assert_eq!(rows, [1, 2]);
        assert_eq!(condition.in_flight(), 0);
    });
}

/// Whichever of a good answer to a health check and an ejection is seen first: it is left out, and cold when it comes back.
#[test]
fn who_was_left_out_comes_back_cold_whatever_else_was_seen() {
    let now = env::instant();
    let (length, warm_up) = (Duration::from_secs(15), Duration::from_secs(10));
    let settings = health::Settings {
        unhealthy: 1,
        healthy: 1,
        ..health::Settings::default()
    };
    loom::model(move || {
        let condition = condition(now);
        assert!(condition.probed(false, &settings, now));
        let ejecting = Arc::clone(&condition);
        let ejecting = thread::spawn(move || ejecting.eject(now, length));
        assert!(condition.probed(true, &settings, now));
        ejecting.join().expect("joined");
        assert!(condition.is_ejected(now) && !condition.is_unhealthy());
        let back = now + length + Duration::from_millis(10);
        assert!(!condition.is_ejected(back));
        let warmth = condition.warmth(warm_up, back);
        assert!(warmth < 0.2, "{warmth} of its share at once");
        assert_eq!(condition.ejections(), 1);
    });
}
