//! How a pool of instances is as a whole: whether too few are well to leave any out, and whether the nearest suffice.
//!
//! It is looked at ten times a second at most, by whichever pick comes; the others read what was found.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use env::Instant;

/// So old may be what is known.
const FRESH: Duration = Duration::from_millis(100);
/// The nearest take so many times their share before calls go further (Envoy's overprovisioning factor): with three
/// quarters of them well, all calls still stay.
const SPARE: f64 = 1.4;

/// See the [module](self).
pub(super) struct Vitals {
    origin: Instant,
    /// When it was looked at, in milliseconds since the origin, and 1 more; 0 for never.
    looked: AtomicU64,
    /// Whether nobody is left out, in the lowest bit, and how many of a million calls stay near.
    found: AtomicU32,
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
            looked: AtomicU64::new(0),
            found: AtomicU32::new(0),
        }
    }

    /// What is known at `now`; `look` is asked when that is too old.
    pub(super) fn at(&self, now: Instant, look: impl FnOnce() -> Census) -> Found {
        let since = now.saturating_duration_since(self.origin).as_millis() as u64 + 1;
        let looked = self.looked.load(Ordering::Acquire);
        if looked == 0 || since > looked + FRESH.as_millis() as u64 {
            let census = look();
            let near = match census.near {
                (_, 0) => 0.0,
                (well, all) => (SPARE * well as f64 / all as f64).min(1.0),
            };
            let found = ((near * 1e6) as u32) << 1 | u32::from(census.panics);
            self.found.store(found, Ordering::Relaxed);
            self.looked.store(since, Ordering::Release);
        }
        let found = self.found.load(Ordering::Relaxed);
        Found {
            panics: found & 1 == 1,
            near: f64::from(found >> 1) / 1e6,
        }
    }

    /// Something happened: the next pick looks again.
    pub(super) fn changed(&self) {
        self.looked.store(0, Ordering::Release);
    }
}
