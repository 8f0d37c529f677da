//! Which instance takes a request: picks, as plain functions without allocation or lock.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How an instance is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// One after the other.
    RoundRobin,
    /// By chance.
    Random,
    /// The one with the fewest requests in flight; among equals, one after the other. The default.
    #[default]
    LeastConnections,
}

/// Picks by a strategy; keeps the turn of those that go in turns.
#[derive(Debug, Default)]
pub struct Picker {
    strategy: Strategy,
    turn: AtomicUsize,
}

impl Picker {
    /// Picks by `strategy`.
    pub fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            turn: AtomicUsize::new(0),
        }
    }

    /// The index of one of `count` candidates, where `in_flight` tells the load of each and `available` whether it
    /// takes requests; `None` when none does.
    pub fn pick(
        &self,
        count: usize,
        available: impl Fn(usize) -> bool,
        in_flight: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        if count == 0 {
            return None;
        }
        let start = match self.strategy {
            Strategy::Random => env::random().below(count as u64) as usize,
            Strategy::RoundRobin | Strategy::LeastConnections => {
                self.turn.fetch_add(1, Ordering::Relaxed) % count
            }
        };
        let mut candidates = (0..count)
            .map(|step| (start + step) % count)
            .filter(|index| available(*index));
        match self.strategy {
            Strategy::LeastConnections => candidates.min_by_key(|index| in_flight(*index)),
            Strategy::RoundRobin | Strategy::Random => candidates.next(),
        }
    }
}
