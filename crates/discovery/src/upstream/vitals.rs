//! How a pool of instances is as a whole: whether too few are well to leave any out, and whether the nearest suffice.
//!
//! It is looked at ten times a second at most, by whichever pick comes, and after every change; the others read what was
//! found. What was found, when, and after how many changes is in one atomic word, so who looked before a change cannot hide
//! it. The file is compiled a second time by `tests/loom.rs`, with the atomics of loom.

use std::time::Duration;

use env::Instant;

use super::sync::{AtomicU32, AtomicU64, Ordering};

/// So old may be what is known.
const FRESH: Duration = Duration::from_millis(100);
/// The nearest take so many times their share before calls go further (Envoy's overprovisioning factor): with three
/// quarters of them well, all calls still stay.
const SPARE: f64 = 1.4;

/// The parts of the word, from its lowest bit: whether nobody is left out, the calls of a thousand that stay near, the
/// milliseconds since the origin, and the changes until then.
const NEAR: u32 = 1;
const MILLIS: u32 = NEAR + 10;
const CHANGES: u32 = MILLIS + 37;
const THOUSAND: f64 = 1000.0;

/// See the [module](self).
pub(super) struct Vitals {
    origin: Instant,
    /// How often something happened.
    changes: AtomicU32,
    word: AtomicU64,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    /// Too few are well: all are used.
    pub(super) panics: bool,
    /// The share of the calls that stay near, from 0 to 1.
    pub(super) near: f64,
}

/// What is counted to find it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Census {
    /// The nearest that are well, and all of the nearest.
    pub(super) near: (usize, usize),
    /// Whether too few are well.
    pub(super) panics: bool,
}

impl Vitals {
    pub(super) fn new(origin: Instant) -> Self {
        Self {
            origin,
            // One that the word does not know of, so that the first pick looks.
            changes: AtomicU32::new(1),
            word: AtomicU64::new(0),
        }
    }

    /// What is known at `now`; `look` is asked when that is too old.
    pub(super) fn at(&self, now: Instant, look: impl FnOnce() -> Census) -> Found {
        let changes = u64::from(self.changes.load(Ordering::Acquire));
        let millis = now.saturating_duration_since(self.origin).as_millis() as u64;
        let word = self.word.load(Ordering::Relaxed);
        let same = word >> CHANGES == part(changes, CHANGES, u64::BITS);
        let age = millis.saturating_sub(part(word >> MILLIS, MILLIS, CHANGES));
        if same && age <= FRESH.as_millis() as u64 {
            return found(word);
        }
        let census = look();
        let near = match census.near {
            (_, 0) => 0.0,
            (well, all) => (SPARE * well as f64 / all as f64).min(1.0),
        };
        let word = u64::from(census.panics)
            | ((near * THOUSAND) as u64) << NEAR
            | part(millis, MILLIS, CHANGES) << MILLIS
            | changes << CHANGES;
        self.word.store(word, Ordering::Relaxed);
        found(word)
    }

    /// Something happened: the next pick looks again.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}

fn found(word: u64) -> Found {
    Found {
        panics: word & 1 == 1,
        near: part(word >> NEAR, NEAR, MILLIS) as f64 / THOUSAND,
    }
}

/// As much of `value` as there is room for between two places of the word.
fn part(value: u64, from: u32, to: u32) -> u64 {
    value & ((1 << (to - from)) - 1)
}
