//! A sliding window made of short ones that take turns.
//!
//! Pure: it is told the time as the age of its monitor.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::Snapshot;

/// How many short windows make one.
const SLOTS: u64 = 10;
/// The longest duration that is told apart, in microseconds; a longer one counts as this.
const LONGEST: u64 = 60_000_000;
/// Decimal digits that a percentile keeps.
const DIGITS: u8 = 2;

#[derive(Debug)]
pub(super) struct Window {
    /// How long a slot is written to.
    turn: Duration,
    /// At most `SLOTS`; the slot of turn `n` is at `n % SLOTS` once that many were needed.
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    turn: u64,
    durations: Histogram<u32>,
    count: u64,
    errors: u64,
    total: Duration,
}

fn histogram() -> Histogram<u32> {
    Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("the bounds are in order")
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        let turn = length / u32::try_from(SLOTS).expect("there are few slots");
        Self {
            turn: turn.max(Duration::from_micros(1)),
            slots: Vec::new(),
        }
    }

    pub(super) fn record(&mut self, age: Duration, elapsed: Duration, success: bool) {
        let slot = self.slot(self.turn_at(age));
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        slot.durations.saturating_record(micros.clamp(1, LONGEST));
        slot.count += 1;
        slot.errors += u64::from(!success);
        slot.total = slot.total.saturating_add(elapsed);
    }

    fn turn_at(&self, age: Duration) -> u64 {
        u64::try_from(age.as_nanos() / self.turn.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The slot that is written to at `turn`: this turn's, or the one whose turn is longest over.
    fn slot(&mut self, turn: u64) -> &mut Slot {
        let found = self.slots.iter().position(|slot| slot.turn == turn);
        let index = found.unwrap_or_else(|| self.recycle(turn));
        &mut self.slots[index]
    }

    fn recycle(&mut self, turn: u64) -> usize {
        let over = |slot: &Slot| slot.turn + SLOTS <= turn;
        let index = match self.slots.iter().position(over) {
            Some(index) => {
                self.slots[index].durations.reset();
                index
            }
            None => {
                self.slots.push(Slot::new(turn));
                self.slots.len() - 1
            }
        };
        let slot = &mut self.slots[index];
        (slot.turn, slot.count, slot.errors, slot.total) = (turn, 0, 0, Duration::ZERO);
        index
    }

    /// What happened in this turn and the `SLOTS - 1` before it.
    pub(super) fn snapshot(&self, operation: &str, age: Duration) -> Snapshot {
        let now = self.turn_at(age);
        let oldest = (now + 1).saturating_sub(SLOTS);
        let mut durations = histogram();
        let (mut count, mut errors, mut total) = (0, 0, Duration::ZERO);
        for slot in self.slots.iter().filter(|slot| slot.turn >= oldest) {
            durations
                .add(&slot.durations)
                .expect("the bounds are equal");
            count += slot.count;
            errors += slot.errors;
            total = total.saturating_add(slot.total);
        }

        let before = u128::from(oldest) * self.turn.as_nanos();
        let before = Duration::from_nanos(u64::try_from(before).unwrap_or(u64::MAX));
        let over = age.saturating_sub(before);
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let quantile = |q: f64| Duration::from_micros(durations.value_at_quantile(q));
        Snapshot {
            operation: operation.to_owned(),
            over,
            count,
            errors,
            error_rate: ratio(errors as f64, count as f64),
            throughput: ratio(count as f64, over.as_secs_f64()),
            mean: total.div_f64((count as f64).max(1.0)),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p95: quantile(0.95),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
        }
    }
}

impl Slot {
    fn new(turn: u64) -> Self {
        Self {
            turn,
            durations: histogram(),
            count: 0,
            errors: 0,
            total: Duration::ZERO,
        }
    }
}
