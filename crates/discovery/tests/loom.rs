//! The measure of an instance in every order that threads can take, by loom. It runs with the other tests: `load.rs` is
//! compiled here once more, with the atomics of loom.

#![allow(dead_code, reason = "the file is a part of the crate, compiled alone")]

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../src/balance/load.rs"]
#[allow(unreachable_pub, reason = "public in the crate")]
mod load;

use std::time::Duration;

use load::PeakEwma;
use loom::{sync::Arc, thread};

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
