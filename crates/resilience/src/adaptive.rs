//! A limit of calls at once that finds itself: as many as the service answers without a queue.
//!
//! [`gradient`] holds the rule, without clock or lock; [`Limiter`] is what callers share, and [`AdaptiveLayer`] puts it
//! before a service of tower, or around what a service itself does (G9).

mod error;
mod future;
pub mod gradient;
mod layer;
mod service;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use env::Instant;

pub use self::{
    error::{Error, Limited},
    future::ResponseFuture,
    gradient::{Gradient, Settings},
    layer::AdaptiveLayer,
    service::AdaptiveService,
};
use crate::observe::{Decision, Reporter};

/// An adaptive limit that callers share. Cheap to clone.
#[derive(Clone)]
pub struct Limiter(Arc<Shared>);

struct Shared {
    in_flight: AtomicU32,
    limit: AtomicU32,
    gradient: Mutex<Gradient>,
    reporter: Reporter,
}

/// What the end of a call says of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was answered, and how long that took counts.
    Answered,
    /// It was refused or given up because there is too much to do.
    Overloaded,
    /// It says nothing of the load: an error of another kind, or an answer without work.
    Otherwise,
}

impl Limiter {
    /// A limiter at its first limit.
    pub fn new(settings: Settings) -> Self {
        Self::reporting(settings, Reporter::default())
    }

    /// A limiter at its first limit that tells of its decisions by `reporter`.
    pub fn reporting(settings: Settings, reporter: Reporter) -> Self {
        let gradient = Gradient::new(settings);
        Self(Arc::new(Shared {
            in_flight: AtomicU32::new(0),
            limit: AtomicU32::new(gradient.limit()),
            gradient: Mutex::new(gradient),
            reporter,
        }))
    }

    /// Asks to make a call. The permit should be told how it ended.
    ///
    /// # Errors
    /// [`Limited`].
    pub fn enter(&self) -> Result<Permit, Limited> {
        let limit = self.limit();
        let more = |in_flight: u32| (in_flight < limit).then_some(in_flight + 1);
        let counted = self
            .0
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        match counted {
            Ok(before) => Ok(Permit {
                limiter: self.clone(),
                begun: env::instant(),
                in_flight: before + 1,
            }),
            Err(_) => {
                self.0.reporter.report(Decision::LimitRefused);
                Err(Limited { limit })
            }
        }
    }

    /// So many calls may be under way now.
    pub fn limit(&self) -> u32 {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// So many calls are under way.
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight.load(Ordering::Relaxed)
    }
}

/// The permission to make one call, which is under way until this is dropped.
#[must_use = "the call is under way until it is dropped"]
pub struct Permit {
    limiter: Limiter,
    begun: Instant,
    /// The calls that were under way with this one when it began.
    in_flight: u32,
}

impl Permit {
    /// The call ended so.
    pub fn ended(self, how: Ended) {
        if how == Ended::Otherwise {
            return;
        }
        let took = env::instant().saturating_duration_since(self.begun);
        let shared = &self.limiter.0;
        // The rule is whole between any two of its steps.
        let mut gradient = shared
            .gradient
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match how {
            Ended::Overloaded => gradient.overloaded(),
            Ended::Answered | Ended::Otherwise => gradient.answered(took, self.in_flight),
        }
        let limit = gradient.limit();
        if shared.limit.swap(limit, Ordering::Relaxed) != limit {
            shared.reporter.report(Decision::LimitChanged { limit });
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
