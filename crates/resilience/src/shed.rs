//! Load shedding with priorities: the fuller it gets, the more important a request must be to be taken (G9).
//!
//! Each priority may fill a share of the capacity; what lies above is kept for those that matter more. (The criticality
//! of "Site Reliability Engineering", chapter 21, and Netflix's prioritized load shedding.) The capacity is a number, or
//! whatever an [adaptive limit](crate::adaptive) has found.
//!
//! [`priority`] holds the rule; [`Shedder`] is what requests share, and [`ShedLayer`] puts it before a service of tower.

mod error;
mod future;
mod layer;
pub mod priority;
mod service;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

pub use self::{
    error::{Error, Overloaded},
    future::ResponseFuture,
    layer::ShedLayer,
    priority::{Priority, Shares},
    service::ShedService,
};
use crate::{
    adaptive::Limiter,
    observe::{Decision, Reporter},
};

/// So many requests can be under way.
#[derive(Clone)]
pub enum Capacity {
    /// Always the same number.
    Fixed(u32),
    /// What the limiter finds. Its own limit refuses nothing that was not shed before.
    Of(Limiter),
}

impl Capacity {
    fn now(&self) -> u32 {
        match self {
            Self::Fixed(capacity) => *capacity,
            Self::Of(limiter) => limiter.limit(),
        }
    }
}

/// How long a client that was refused should stay away.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Takes requests as far as there is room for their priority. Cheap to clone.
#[derive(Clone)]
pub struct Shedder(Arc<Shared>);

struct Shared {
    capacity: Capacity,
    shares: Shares,
    in_flight: AtomicU32,
    reporter: Reporter,
}

impl Shedder {
    /// A shedder with no request under way.
    pub fn new(capacity: Capacity, shares: Shares) -> Self {
        Self::reporting(capacity, shares, Reporter::default())
    }

    /// The same, telling of its decisions by `reporter`.
    pub fn reporting(capacity: Capacity, shares: Shares, reporter: Reporter) -> Self {
        Self(Arc::new(Shared {
            capacity,
            shares,
            in_flight: AtomicU32::new(0),
            reporter,
        }))
    }

    /// A place for a request of `priority`, kept until it is dropped.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub fn enter(&self, priority: Priority) -> Result<Place, Overloaded> {
        let room = self.0.shares.room(priority, self.0.capacity.now());
        let more = |in_flight: u32| (in_flight < room).then_some(in_flight + 1);
        let counted = self
            .0
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        match counted {
            Ok(_) => Ok(Place(self.clone())),
            Err(_) => {
                self.0.reporter.report(Decision::Shed(priority));
                Err(Overloaded {
                    priority,
                    retry_after: RETRY_AFTER,
                })
            }
        }
    }

    /// So many requests are under way.
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight.load(Ordering::Relaxed)
    }
}

/// A request that was taken, until it is dropped.
#[must_use = "the request is under way until it is dropped"]
pub struct Place(Shedder);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
