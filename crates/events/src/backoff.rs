//! How long to wait before something is tried again.

use std::time::Duration;

use rand::RngExt;

/// Exponential backoff with jitter: each wait is twice as long as the one before, up to a limit, and somewhere
/// between half of that and all of it, so that what failed together does not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait, before jitter. Default 100 ms.
    pub base: Duration,
    /// The longest wait. Default 30 s.
    pub limit: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(100),
            limit: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    /// The longest that is waited after the attempt `attempt`, counted from 1.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.limit)
    }

    /// How long to wait after the attempt `attempt`, counted from 1.
    pub fn delay(&self, attempt: u32) -> Duration {
        let jitter = env::random().random_range(0.5..=1.0);
        self.ceiling(attempt).mul_f64(jitter)
    }
}
