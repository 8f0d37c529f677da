//! Which instance takes a request: picks, as plain functions without allocation or lock.
//!
//! The default compares two instances drawn by chance and takes the one whose requests cost less: "the power of two
//! choices" (M. Mitzenmacher, 2001) by peak EWMA ([`load`]), as Finagle and linkerd do it. It notices a slow instance
//! after one answer, costs the same among a thousand as among three, and callers that do not know of each other do not
//! all run to the same idle instance.

pub mod load;
pub mod maglev;

use std::sync::atomic::{AtomicUsize, Ordering};

use env::Instant;

use self::maglev::Table;

/// What `load.rs` synchronizes with; a test puts loom's in its place.
mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

/// How an instance is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Of two by chance, the one whose requests take less, the ones under way counted in. The default.
    #[default]
    PeakEwma,
    /// The one with the fewest requests in flight, for its weight; among equals, one after the other. It looks at all.
    LeastConnections,
    /// One after the other.
    RoundRobin,
    /// By chance.
    Random,
    /// By chance, in proportion to the weights.
    Weighted,
    /// By the [`Key`] of the request: the same one as long as it is there, and few move when others come and go
    /// ([`maglev`]). Without a key, by chance.
    ConsistentHash,
}

/// What requests are spread by that must meet the same instance, among the extensions of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(pub u64);

impl Key {
    /// The key of a text, the same in every process.
    pub fn of(text: &str) -> Self {
        Self(maglev::hash(text.as_bytes(), 0))
    }
}

/// What there is to choose from.
pub trait Candidate {
    /// The requests under way.
    fn in_flight(&self) -> usize;
    /// How long a request takes lately, in seconds; `None` if that is not known.
    fn latency(&self, now: Instant) -> Option<f64>;
    /// Its weight relative to the heaviest, above 0 and up to 1.
    fn weight(&self) -> f64;
    /// How far it has warmed up, above 0 and up to 1: a new one gets less at first.
    fn warmth(&self, now: Instant) -> f64;
}

/// So many draws are made before all are looked at.
const DRAWS: usize = 8;

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

    /// The strategy.
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// The index of one of `candidates` that `takes` requests; `None` when none does. `table` is that of the
    /// candidates, for [`Strategy::ConsistentHash`].
    pub fn pick<C: Candidate>(
        &self,
        candidates: &[C],
        table: Option<&Table>,
        key: Option<Key>,
        now: Instant,
        takes: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let count = candidates.len();
        if count < 2 {
            return (0..count).find(|index| takes(*index));
        }
        // As a share of luck, for by comparison a cold one would get nothing at all.
        let warm = |index: usize| takes(index) && luck(candidates[index].warmth(now));
        let picked = match (self.strategy, table, key) {
            (Strategy::PeakEwma, ..) => of_two(candidates, now, &warm),
            (Strategy::LeastConnections, ..) => self.idlest(candidates, warm),
            (Strategy::RoundRobin, ..) => self.in_turn(count).find(|index| warm(*index)),
            (Strategy::Weighted, ..) => drawn(count, |index| {
                warm(index) && luck(candidates[index].weight())
            }),
            (Strategy::ConsistentHash, Some(table), Some(Key(key))) => table.find(key, warm),
            (Strategy::Random | Strategy::ConsistentHash, ..) => drawn(count, warm),
        };
        // Whoever is there, when luck finds nobody.
        picked.or_else(|| from(draw(count), count).find(|index| takes(*index)))
    }

    /// All of `count`, beginning with whose turn it is.
    fn in_turn(&self, count: usize) -> impl Iterator<Item = usize> {
        from(self.turn.fetch_add(1, Ordering::Relaxed) % count, count)
    }

    fn idlest<C: Candidate>(
        &self,
        candidates: &[C],
        takes: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let load = |index: usize| {
            let candidate = &candidates[index];
            (candidate.in_flight() + 1) as f64 / candidate.weight()
        };
        self.in_turn(candidates.len())
            .filter(|index| takes(*index))
            .map(|index| (index, load(index)))
            .reduce(|least, next| if next.1 < least.1 { next } else { least })
            .map(|(index, _)| index)
    }
}

/// The better of two by chance; who does not take requests is drawn again.
fn of_two<C: Candidate>(
    candidates: &[C],
    now: Instant,
    takes: &impl Fn(usize) -> bool,
) -> Option<usize> {
    (0..DRAWS).find_map(|_| {
        let (one, other) = draw_two(candidates.len());
        match (takes(one), takes(other)) {
            (true, true) if is_cheaper(&candidates[other], &candidates[one], now) => Some(other),
            (true, _) => Some(one),
            (false, true) => Some(other),
            (false, false) => None,
        }
    })
}

/// Whether a request to `one` costs less than to `other`. Of one that has not answered yet, only the requests under way
/// are compared: it is neither flooded nor starved.
fn is_cheaper<C: Candidate>(one: &C, other: &C, now: Instant) -> bool {
    let (one_takes, other_takes) = match (one.latency(now), other.latency(now)) {
        (Some(one), Some(other)) => (one, other),
        _ => (1.0, 1.0),
    };
    let cost = |candidate: &C, latency: f64| {
        latency * (candidate.in_flight() + 1) as f64 / candidate.weight()
    };
    cost(one, one_takes) < cost(other, other_takes)
}

/// By chance, one that `fits`.
fn drawn(count: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    (0..2 * DRAWS)
        .map(|_| draw(count))
        .find(|index| fits(*index))
}

fn from(start: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |step| (start + step) % count)
}

fn draw(count: usize) -> usize {
    env::random().below(count as u64) as usize
}

/// Two different ones, of at least two; one number from the generator is enough for both.
fn draw_two(count: usize) -> (usize, usize) {
    let chance = env::random().below(u64::MAX);
    let scale = |half: u64, count: usize| ((half * count as u64) >> 32) as usize;
    let one = scale(chance >> 32, count);
    let step = 1 + scale(chance & u64::from(u32::MAX), count - 1);
    (one, (one + step) % count)
}

/// Whether a chance of `share` comes true.
pub(crate) fn luck(share: f64) -> bool {
    share >= 1.0 || (env::random().below(1 << 32) as f64) < share * (1_u64 << 32) as f64
}

/// A number from 0 to 1, each as likely as the other.
pub(crate) fn chance() -> f64 {
    env::random().below(1 << 32) as f64 / (1_u64 << 32) as f64
}
