//! So many requests for each key and time: the generic cell rate algorithm, by `governor`, on the clock of the seam.
//!
//! Memory is bounded whatever keys come: each key has its place among [`SLOTS`], chosen by a hash that nobody outside
//! can foretell. Keys that meet in one place share its allowance; with a thousand busy keys that is one in a hundred.
//!
//! [`RateLimiter`] is what callers share, and [`RateLimitLayer`] puts it before a service of tower.

mod error;
mod future;
mod layer;
mod service;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    marker::PhantomData,
    num::NonZeroU32,
    ops::Add,
    time::Duration,
};

use env::Instant;
use governor::{
    Quota, RateLimiter as Governor,
    clock::{Clock, Reference},
    middleware::StateInformationMiddleware,
    nanos::Nanos,
    state::keyed::HashMapStateStore,
};

pub use self::{
    error::{Error, Refused},
    future::ResponseFuture,
    layer::RateLimitLayer,
    service::RateLimitService,
};

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// So many requests...
    pub requests: NonZeroU32,
    /// ...in this time, evenly.
    pub per: Duration,
    /// So many at once, after a pause.
    pub burst: NonZeroU32,
}

/// The places that keys have.
pub const SLOTS: u64 = 1 << 16;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may be made; so many more may follow at once.
    Allowed {
        /// How many more.
        remaining: u32,
    },
    /// It may not; after this time it may.
    Refused {
        /// How long to wait.
        retry_after: Duration,
    },
}

/// A limit for each key.
pub struct RateLimiter<K> {
    governor: Governor<u64, HashMapStateStore<u64>, SeamClock, StateInformationMiddleware>,
    secret: u64,
    keys: PhantomData<fn(&K)>,
}

impl<K: Hash> RateLimiter<K> {
    /// A limiter of every key alike.
    pub fn new(limit: Limit) -> Self {
        let period = (limit.per / limit.requests.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(period)
            .expect("a period of at least a nanosecond is a quota")
            .allow_burst(limit.burst);
        let clock = SeamClock {
            start: env::instant(),
        };
        Self {
            governor: Governor::new(quota, HashMapStateStore::default(), clock),
            secret: env::random().below(u64::MAX),
            keys: PhantomData,
        }
    }

    /// Counts a request of `key`.
    pub fn check(&self, key: &K) -> Decision {
        match self.governor.check_key(&self.slot(key)) {
            Ok(state) => Decision::Allowed {
                remaining: state.remaining_burst_capacity(),
            },
            Err(refused) => Decision::Refused {
                retry_after: refused.wait_time_from(self.governor.clock().now()),
            },
        }
    }

    fn slot(&self, key: &K) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.secret.hash(&mut hasher);
        key.hash(&mut hasher);
        hasher.finish() % SLOTS
    }
}

#[derive(Debug, Clone)]
struct SeamClock {
    start: Instant,
}

impl Clock for SeamClock {
    type Instant = SinceStart;

    fn now(&self) -> SinceStart {
        SinceStart(env::instant().saturating_duration_since(self.start))
    }
}

/// A time, as long after the start of the limiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SinceStart(Duration);

impl Add<Nanos> for SinceStart {
    type Output = Self;

    fn add(self, time: Nanos) -> Self {
        Self(self.0 + Duration::from(time))
    }
}

impl Reference for SinceStart {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }

    fn saturating_sub(&self, time: Nanos) -> Self {
        Self(self.0.saturating_sub(time.into()))
    }
}
