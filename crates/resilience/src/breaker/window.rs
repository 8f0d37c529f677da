//! How many of the latest calls failed: a sliding window in constant memory.
//!
//! Time is cut into slices of a tenth of the window; the counts of a slice are forgotten as a whole. So what is
//! counted reaches back between nine tenths of the window and all of it.

use std::time::Duration;

use env::Instant;

const SLICES: usize = 10;

/// Counts calls and failures over the latest time.
#[derive(Debug)]
pub struct Window {
    /// The length of a slice, in nanoseconds.
    slice: u64,
    /// Where the slices are counted from: the time of the first call.
    origin: Option<Instant>,
    counts: [Counts; SLICES],
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// Which slice these are of; what is of one that has slid out counts for nothing.
    slice: u64,
    calls: u32,
    failures: u32,
}

impl Window {
    /// An empty window that reaches back for `length`, of at least ten nanoseconds.
    pub fn new(length: Duration) -> Self {
        Self {
            slice: nanos(length / SLICES as u32).max(1),
            origin: None,
            counts: [Counts::default(); SLICES],
        }
    }

    /// Counts a call that ended at `now`.
    pub fn record(&mut self, now: Instant, failed: bool) {
        self.add(now, 1, failed.into());
    }

    /// Counts so many calls that ended well until `now`.
    pub fn record_many(&mut self, now: Instant, calls: u32) {
        self.add(now, calls, 0);
    }

    /// Counts so many calls and failures that ended until `now`.
    pub fn add(&mut self, now: Instant, calls: u32, failures: u32) {
        let slice = self.slice_of(now);
        let counts = &mut self.counts[(slice % SLICES as u64) as usize];
        if counts.slice != slice {
            *counts = Counts {
                slice,
                ..Counts::default()
            };
        }
        counts.calls = counts.calls.saturating_add(calls);
        counts.failures = counts.failures.saturating_add(failures);
    }

    /// The calls that the window holds at `now`, and how many of them failed.
    pub fn totals(&mut self, now: Instant) -> (u64, u64) {
        let slice = self.slice_of(now);
        self.counts
            .iter()
            .filter(|counts| counts.slice + SLICES as u64 > slice && counts.slice <= slice)
            .fold((0, 0), |(calls, failures), counts| {
                (
                    calls + u64::from(counts.calls),
                    failures + u64::from(counts.failures),
                )
            })
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts = [Counts::default(); SLICES];
    }

    fn slice_of(&mut self, now: Instant) -> u64 {
        let origin = *self.origin.get_or_insert(now);
        nanos(now.saturating_duration_since(origin)) / self.slice
    }
}

/// Nanoseconds, of which there is room for five centuries.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}
