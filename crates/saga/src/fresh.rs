//! Time and chance for one step, drawn before it, so that the step itself is a pure function.

use std::time::Duration;

use env::{Timestamp, Uuid};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

/// The time, ids and chance of one step.
#[derive(Debug)]
pub struct Fresh {
    now: Timestamp,
    chance: StdRng,
}

impl Fresh {
    /// From the world.
    pub fn draw() -> Self {
        Self::of(env::now(), env::random().random())
    }

    /// From a given time and seed.
    pub fn of(now: Timestamp, seed: [u8; 32]) -> Self {
        Self {
            now,
            chance: StdRng::from_seed(seed),
        }
    }

    pub(crate) fn now(&mut self) -> Timestamp {
        self.now
    }

    pub(crate) fn id(&mut self) -> Uuid {
        let mut chance = [0; 10];
        self.chance.fill_bytes(&mut chance);
        let millis = u64::try_from(self.now.as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &chance).into_uuid()
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.chance.next_u64()
    }

    /// Between half of `longest` and all of it, so that those who failed together do not come back together.
    pub(crate) fn jitter(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.chance.random_range(0.5..=1.0))
    }
}
