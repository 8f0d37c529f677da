//! In what time a share of the latest calls was answered: an estimate in constant memory, within an eighth.
//!
//! Times are counted in buckets, four for each doubling; when they hold [`MEMORY`] calls, every count is halved, so that
//! the past fades.

use std::time::Duration;

/// Buckets for each doubling of the time.
const STEPS: f64 = 4.0;
/// From a microsecond to beyond an hour.
const BUCKETS: usize = 128;
/// So many calls are remembered at least in half.
pub const MEMORY: u32 = 2_000;
/// Fewer say nothing yet.
pub const LEAST: u32 = 50;

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Latency {
    counts: [u32; BUCKETS],
    calls: u32,
}

impl Latency {
    /// Of no calls.
    pub fn new() -> Self {
        Self {
            counts: [0; BUCKETS],
            calls: 0,
        }
    }

    /// A call took this time.
    pub fn record(&mut self, took: Duration) {
        let steps = (took.as_secs_f64() * 1e6).max(1.0).log2() * STEPS;
        self.counts[(steps as usize).min(BUCKETS - 1)] += 1;
        self.calls += 1;
        if self.calls >= MEMORY {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.calls = self.counts.iter().sum();
        }
    }

    /// The time in which so large a `share` of the calls was answered, rounded up; `None` of too few calls.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        if self.calls < LEAST {
            return None;
        }
        let wanted = share.clamp(0.0, 1.0) * f64::from(self.calls);
        let mut seen = 0_u32;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            f64::from(seen) >= wanted
        })?;
        let micros = ((bucket + 1) as f64 / STEPS).exp2();
        Some(Duration::from_secs_f64(micros / 1e6))
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}
