//! What is known of an instance by the calls to it. All of it is atomics: to read and to count takes no lock.
//!
//! The file is compiled a second time by `tests/loom.rs`, with the atomics of loom.

use std::time::Duration;

use env::Instant;
use resilience::observe::Reporter;

use super::sync::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering, PoisonError};
use crate::{balance::load::PeakEwma, health::Probes, outlier::Tally};

/// The least that an instance gets while it warms up, of its share.
const COLDEST: f64 = 0.1;

/// What the end of a call says of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Well,
    Badly,
    /// It did not do what it was asked for, and said so in time: it has too much to do, or what it needs itself fails.
    /// That may be so only of this one, so it is compared with the others; but nothing is broken that a breaker, which
    /// would take it away from all other calls too, had to wait for.
    Refused,
    /// The caller stopped waiting before its time was over: it takes at least so long.
    GivenUp,
    /// It was not for the instance that it ended so.
    Otherwise,
}

/// See the [module](self).
pub(super) struct Condition {
    origin: Instant,
    in_flight: AtomicUsize,
    latency: PeakEwma,
    /// Calls and failures since they were last compared, 32 bits each.
    tally: AtomicU64,
    /// Failures in a row.
    row: AtomicU32,
    /// Until when it is left out, in milliseconds since the origin.
    ejected_until: AtomicU64,
    /// How often it was left out, less what it has made good.
    ejections: AtomicU32,
    /// Since when it warms up, in milliseconds since the origin; 0 for warm.
    cold_since: AtomicU64,
    unhealthy: AtomicBool,
    probes: Mutex<Probes>,
    reporter: Reporter,
}

impl Condition {
    /// Of one that nobody has called; a `cold` one has to warm up.
    pub(super) fn new(now: Instant, cold: bool, reporter: Reporter) -> Self {
        Self {
            // A millisecond ago, for 0 means never.
            origin: now.checked_sub(Duration::from_millis(1)).unwrap_or(now),
            in_flight: AtomicUsize::new(0),
            latency: PeakEwma::new(now),
            tally: AtomicU64::new(0),
            row: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            cold_since: AtomicU64::new(u64::from(cold)),
            unhealthy: AtomicBool::new(false),
            probes: Mutex::default(),
            reporter,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn begun(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn latency(&self, now: Instant) -> Option<f64> {
        self.latency.seconds(now)
    }

    /// Counts a call that took so long; the failures in a row with it.
    pub(super) fn count(&self, how: Ended, took: Duration, now: Instant) -> u32 {
        match how {
            Ended::Well => {
                self.latency.answered(took, now);
                self.tally(0);
                self.end_row()
            }
            Ended::Refused => {
                self.latency.failed(took, now);
                self.tally(1);
                self.end_row()
            }
            Ended::Badly => {
                self.latency.failed(took, now);
                self.tally(1);
                self.row.fetch_add(1, Ordering::Relaxed) + 1
            }
            Ended::GivenUp => {
                self.latency.failed(took, now);
                0
            }
            Ended::Otherwise => 0,
        }
    }

    fn tally(&self, failed: u64) {
        self.tally.fetch_add(1 << 32 | failed, Ordering::Relaxed);
    }

    fn end_row(&self) -> u32 {
        if self.row.load(Ordering::Relaxed) != 0 {
            self.row.store(0, Ordering::Relaxed);
        }
        0
    }

    /// The calls since this was asked last.
    pub(super) fn take_tally(&self) -> Tally {
        let tally = self.tally.swap(0, Ordering::Relaxed);
        Tally {
            calls: (tally >> 32) as u32,
            failures: tally as u32,
        }
    }

    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        match self.ejected_until.load(Ordering::Relaxed) {
            0 => false,
            until => self.millis(now) < until,
        }
    }

    /// How often it was left out before, less what it has made good.
    pub(super) fn ejections(&self) -> u32 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// Leaves it out for so long; it warms up after that.
    pub(super) fn eject(&self, now: Instant, length: Duration) {
        let until = self.millis(now + length).max(1);
        self.ejected_until.store(until, Ordering::Relaxed);
        self.chill(until);
        self.row.store(0, Ordering::Relaxed);
        self.ejections.fetch_add(1, Ordering::Relaxed);
    }

    /// It has been well for a while.
    pub(super) fn make_good(&self) {
        let less = |times: u32| times.checked_sub(1);
        // None is nothing to make good.
        let _ = self
            .ejections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(super) fn is_unhealthy(&self) -> bool {
        self.unhealthy.load(Ordering::Relaxed)
    }

    /// It was asked for its health, and answered well or not. Whether that changed something.
    pub(super) fn probed(
        &self,
        well: bool,
        settings: &crate::health::Settings,
        now: Instant,
    ) -> bool {
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(healthy) = probes.seen(well, settings) else {
            return false;
        };
        self.unhealthy.store(!healthy, Ordering::Relaxed);
        if healthy {
            self.chill(self.millis(now).max(1));
        }
        true
    }

    /// It warms up from then on, unless it does so later anyway.
    fn chill(&self, since: u64) {
        self.cold_since.fetch_max(since, Ordering::Relaxed);
    }

    /// How far it has warmed up.
    pub(super) fn warmth(&self, warm_up: Duration, now: Instant) -> f64 {
        let since = self.cold_since.load(Ordering::Relaxed);
        if since == 0 || warm_up.is_zero() {
            return 1.0;
        }
        let warm = self.millis(now).saturating_sub(since) as f64 / 1e3;
        (warm / warm_up.as_secs_f64()).clamp(COLDEST, 1.0)
    }

    pub(super) fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_millis() as u64
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        self.reporter.gone();
    }
}
