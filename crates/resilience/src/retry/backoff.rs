//! How long to wait before the next attempt: exponential backoff with full jitter.
//!
//! M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: of the ways to spread clients that failed
//! together, a wait anywhere between nothing and the exponential bound makes the fewest calls and ends soonest.

use std::time::Duration;

/// The bounds of the waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first attempt; each further one doubles it. Default 25 ms.
    pub base: Duration,
    /// The longest wait after any. Default 1 s.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(25),
            cap: Duration::from_secs(1),
        }
    }
}

impl Backoff {
    /// The longest wait after so many attempts, of at least one.
    pub fn bound(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// The wait after so many attempts, where `chance` is from 0 to 1.
    pub fn wait(&self, attempts: u32, chance: f64) -> Duration {
        self.bound(attempts).mul_f64(chance.clamp(0.0, 1.0))
    }
}
