//! Random numbers and ids.

use std::convert::Infallible;

use rand::{Rng, RngExt, TryCryptoRng, TryRng};
use uuid::Uuid;

use crate::{clock, pure, world};

/// The generator of this run: the operating system's, or the simulation's own.
///
/// It implements the traits of the `rand` crate, so `env::random().random_range(0..10)` works where
/// `rand::RngExt` is in scope.
pub fn random() -> Random {
    Random(())
}

/// A new UUIDv7 (RFC 9562, section 5.7): sorts by the millisecond in which it was made.
pub fn id() -> Uuid {
    pure::ask("env::id");
    let mut chance = [0; 10];
    random().fill_bytes(&mut chance);
    let millis = u64::try_from(clock::now().as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &chance).into_uuid()
}

/// See [`random`].
#[derive(Debug, Clone, Copy)]
pub struct Random(());

impl Random {
    /// A number from 0 to `limit` - 1, each as likely as the other; 0 for a `limit` of 0.
    ///
    /// For those who do not have the traits of `rand` in scope.
    pub fn below(mut self, limit: u64) -> u64 {
        if limit == 0 {
            0
        } else {
            self.random_range(0..limit)
        }
    }
}

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        pure::ask("env::random");
        match world::current() {
            Some(world) => world.fill_random(bytes),
            None => rand::rng().fill_bytes(bytes),
        }
        Ok(())
    }
}

/// Outside a simulation the thread generator of `rand` answers, a CSPRNG reseeded from the system.
impl TryCryptoRng for Random {}
