//! Whether an attempt follows another, and when: a plain function.

use std::time::Duration;

use super::{Backoff, GaveUp};

/// How calls are made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// So many attempts at most, the first included. 1 turns retries off. Default 3.
    pub attempts: u32,
    /// How long to wait between them.
    pub backoff: Backoff,
    /// The longest `Retry-After` that is waited for. Default 2 s.
    pub longest_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: Backoff::default(),
            longest_wait: Duration::from_secs(2),
        }
    }
}

/// What is made of an attempt that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// That is the answer.
    Keep,
    /// It is worth another attempt.
    Again,
    /// It is worth another attempt, which should not be made before this time has passed.
    AgainAfter(Duration),
}

/// Whether another attempt follows after so many, and after what wait. `remaining` is what the caller will still wait;
/// `chance`, from 0 to 1, spreads the waits. The budget is asked last, when nothing else stands against it.
///
/// # Errors
/// Why none follows.
pub fn next(
    settings: &Settings,
    attempts: u32,
    asked: Option<Duration>,
    remaining: Option<Duration>,
    chance: f64,
    budget: impl FnOnce() -> bool,
) -> Result<Duration, GaveUp> {
    if attempts >= settings.attempts {
        return Err(GaveUp::Attempts);
    }
    if asked.is_some_and(|asked| asked > settings.longest_wait) {
        return Err(GaveUp::RetryAfter);
    }
    // Whoever was told the same time would come back together: the jitter is added to it.
    let wait = asked.unwrap_or_default() + settings.backoff.wait(attempts, chance);
    if remaining.is_some_and(|remaining| wait >= remaining) {
        return Err(GaveUp::Deadline);
    }
    budget().then_some(wait).ok_or(GaveUp::Budget)
}
