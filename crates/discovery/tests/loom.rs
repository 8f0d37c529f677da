//! The measure of an instance and the state of a pool in every order that threads can take, by loom. It runs with the other
//! tests: `load.rs` and `vitals.rs` are compiled here once more, with the atomics of loom.

#![allow(dead_code, reason = "the file is a part of the crate, compiled alone")]

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

#[path = "../src/balance/load.rs"]
#[allow(unreachable_pub, reason = "public in the crate")]
mod load;

#[path = "../src/upstream/vitals.rs"]
mod vitals;

use std::time::Duration;

use load::PeakEwma;
use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
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
