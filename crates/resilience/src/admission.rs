//! Admission to a server: as many requests of one kind as it answers in good time, and of those the ones that matter (G9).
//!
//! A [`Gate`] is an [adaptive limit](crate::adaptive) whose room is given out by [priority](crate::shed). One stands before
//! each kind of request, for what those take alone differs: a limit over all of them would take many slow ones among quick
//! ones for a queue. What is refused costs next to nothing, and is told when to come again.

use std::time::Duration;

use crate::{
    adaptive::{self, Ended, Limiter},
    shed::{Capacity, Overloaded, Place, Priority, RETRY_AFTER, Shares, Shedder},
};

/// How much a gate lets in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How the limit moves. Default: from 64, between 16 and 1,000, while requests take no more than three times as long as
    /// alone, or 150 ms.
    pub limit: adaptive::Settings,
    /// What each priority may fill of it.
    pub shares: Shares,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limit: adaptive::Settings {
                initial: 64,
                least: 16,
                most: 1_000,
                tolerance: 3.0,
                unhurried: Duration::from_millis(50),
                ..adaptive::Settings::default()
            },
            shares: Shares::default(),
        }
    }
}

/// See the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    limiter: Limiter,
    shedder: Shedder,
}

impl Gate {
    /// A gate through which nothing has come yet.
    pub fn new(settings: Settings) -> Self {
        let limiter = Limiter::new(settings.limit);
        let shedder = Shedder::new(Capacity::Of(limiter.clone()), settings.shares);
        Self { limiter, shedder }
    }

    /// Lets a request in. The admission should be told how it ended.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub fn enter(&self, priority: Priority) -> Result<Admitted, Overloaded> {
        let place = self.shedder.enter(priority)?;
        // The limit may have become less since.
        let permit = self.limiter.enter().map_err(|_| Overloaded {
            priority,
            retry_after: RETRY_AFTER,
        })?;
        Ok(Admitted {
            _place: place,
            permit,
        })
    }

    /// So many requests may be under way now.
    pub fn limit(&self) -> u32 {
        self.limiter.limit()
    }
}

/// A request that was let in, until it is dropped.
#[must_use = "the request is under way until it is dropped"]
pub struct Admitted {
    _place: Place,
    permit: adaptive::Permit,
}

impl Admitted {
    /// The request ended so.
    pub fn ended(self, how: Ended) {
        self.permit.ended(how);
    }
}
