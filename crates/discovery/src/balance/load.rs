//! How long an instance's answers take: an exponentially weighted moving average that follows every peak at once.
//!
//! It is the measure of Finagle's `p2cPeakEwma` and of linkerd: an answer that took longer than the average is the new
//! average, one that took less moves it down by its age, and without answers it fades. So a slow instance is noticed
//! after one answer, and found out again after a while.
//!
//! Average and time are in one atomic word, so no peak is lost between two threads. The file is compiled a second time
//! by `tests/loom.rs`, with the atomics of loom.

use std::time::Duration;

use env::Instant;

use super::sync::{AtomicU64, Ordering};

/// After this time without an answer, a third of the average is left.
pub const DECAY: Duration = Duration::from_secs(10);
/// What is less is not known: no answer takes a nanosecond.
const LEAST: f32 = 1e-9;

/// See the [module](self).
#[derive(Debug)]
pub struct PeakEwma {
    origin: Instant,
    /// The average in seconds, as an f32, and below it the milliseconds since the origin when it was that.
    word: AtomicU64,
}

impl PeakEwma {
    /// No answers yet; times count from `origin`.
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            word: AtomicU64::new(0),
        }
    }

    /// An answer came at `now`, after this time.
    pub fn answered(&self, took: Duration, now: Instant) {
        self.change(now, |average| (took.as_secs_f32(), average));
    }

    /// A call failed at `now`, after this time: that it failed fast makes nothing fast.
    pub fn failed(&self, took: Duration, now: Instant) {
        self.change(now, |average| (took.as_secs_f32().max(average), average));
    }

    /// The average at `now` in seconds; `None` if there were no answers, or none for very long.
    pub fn seconds(&self, now: Instant) -> Option<f64> {
        let (average, at) = unpack(self.word.load(Ordering::Relaxed));
        let average = average * fade(self.millis(now).wrapping_sub(at));
        (average > LEAST).then_some(f64::from(average))
    }

    /// Makes the new average of what was measured and of the old one, as `measure` gives them.
    fn change(&self, now: Instant, measure: impl Fn(f32) -> (f32, f32)) {
        let now = self.millis(now);
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let (average, at) = unpack(word);
            let (took, average) = measure(average);
            let kept = fade(now.wrapping_sub(at));
            let next = if took >= average {
                took
            } else {
                average * kept + took * (1.0 - kept)
            };
            let (order, next) = (Ordering::Relaxed, pack(next.max(2.0 * LEAST), now));
            match self.word.compare_exchange_weak(word, next, order, order) {
                Ok(_) => return,
                Err(other) => word = other,
            }
        }
    }

    /// Wraps after 49 days, which then counts as a moment.
    fn millis(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.origin).as_millis() as u32
    }
}

/// What is left after so many milliseconds.
fn fade(millis: u32) -> f32 {
    // Another thread may have written a millisecond ahead of what this one has read.
    if millis == 0 || millis > u32::MAX / 2 {
        return 1.0;
    }
    (-(millis as f32) / DECAY.as_millis() as f32).exp()
}

fn pack(average: f32, at: u32) -> u64 {
    u64::from(average.to_bits()) << 32 | u64::from(at)
}

fn unpack(word: u64) -> (f32, u32) {
    (f32::from_bits((word >> 32) as u32), word as u32)
}
