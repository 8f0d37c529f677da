//! Whether an instance stands out by its failures, and for how long it is left out: plain functions.
//!
//! This is the judgement by comparison that a breaker cannot give (after Envoy's outlier detection): a breaker sees one
//! instance, and opens when it fails often; where all fail alike, none is at fault, and leaving them all out would make
//! an outage of what was slowness. So no more than a share of the instances is ejected, and where too few healthy ones
//! are left, all are used again: rather an instance that may fail than one that drowns.

use std::time::Duration;

/// When an instance is ejected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// So many failures in a row eject it. Default 5.
    pub consecutive: u32,
    /// So much more of its calls fail than of those to the others, from 0 to 1. Default 0.3.
    pub margin: f64,
    /// But only if it and the others were called so often each in the interval. Default 20.
    pub calls: u32,
    /// How often failures are compared. Default 10 s.
    pub interval: Duration,
    /// How long it is left out the first time; each further time as much longer. Default 15 s.
    pub base: Duration,
    /// But no longer than this. Default 5 min.
    pub longest: Duration,
    /// The largest share of the instances that is ejected at once, from 0 to 1. Default 0.5.
    pub most: f64,
    /// Where a smaller share than this is healthy, nobody is left out, from 0 to 1. Default 0.3.
    pub panic: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consecutive: 5,
            margin: 0.3,
            calls: 20,
            interval: Duration::from_secs(10),
            base: Duration::from_secs(15),
            longest: Duration::from_secs(300),
            most: 0.5,
            panic: 0.3,
        }
    }
}

/// Calls, and how many of them failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// The calls that ended.
    pub calls: u32,
    /// Those of them that failed.
    pub failures: u32,
}

impl Tally {
    fn rate(self) -> f64 {
        f64::from(self.failures) / f64::from(self.calls.max(1))
    }

    /// With those of `other`.
    pub fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            failures: self.failures.saturating_add(other.failures),
        }
    }

    /// Without those of `other`, which are among them.
    pub fn minus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(other.calls),
            failures: self.failures.saturating_sub(other.failures),
        }
    }
}

impl Settings {
    /// Whether one with `own` calls fails so much more often than the `others` together.
    pub fn stands_out(&self, own: Tally, others: Tally) -> bool {
        let known = own.calls.min(others.calls) >= self.calls.max(1);
        known && own.rate() >= others.rate() + self.margin.max(0.0) && own.failures > 0
    }

    /// Whether one more of `count` instances may be ejected, of which `ejected` are already.
    pub fn may_eject(&self, ejected: usize, count: usize) -> bool {
        (ejected + 1) as f64 <= self.most.clamp(0.0, 1.0) * count as f64
    }

    /// For how long one is left out that was ejected so often before.
    pub fn length(&self, times: u32) -> Duration {
        self.base
            .saturating_mul(times.saturating_add(1))
            .min(self.longest)
    }

    /// Whether too few of `count` instances are healthy to leave any out.
    pub fn panics(&self, healthy: usize, count: usize) -> bool {
        (healthy as f64) < self.panic.clamp(0.0, 1.0) * count as f64
    }
}
