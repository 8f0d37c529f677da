//! A bulkhead: so many calls at once and so many waiting, so that one slow dependency does not take every task and all
//! memory of its caller. (M. Nygard, "Release It!", chapter 5.)
//!
//! [`Bulkhead`] is what callers share, and [`BulkheadLayer`] puts it before a service of tower. Who waits is served in
//! the order of arrival.

mod error;
mod future;
mod layer;
mod service;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::{
    error::{Error, Full},
    future::ResponseFuture,
    layer::BulkheadLayer,
    service::BulkheadService,
};
use crate::observe::{Decision, Reporter};

/// How much a bulkhead holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// So many calls at once. Default 64.
    pub concurrent: usize,
    /// So many may wait for a place. Default 64.
    pub waiting: usize,
    /// None waits for longer. Default 100 ms.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrent: 64,
            waiting: 64,
            patience: Duration::from_millis(100),
        }
    }
}

/// A bulkhead that callers share. Cheap to clone.
#[derive(Clone)]
pub struct Bulkhead(Arc<Shared>);

struct Shared {
    settings: Settings,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    reporter: Reporter,
}

impl Bulkhead {
    /// An empty bulkhead.
    pub fn new(settings: Settings) -> Self {
        Self::reporting(settings, Reporter::default())
    }

    /// An empty bulkhead that tells of its decisions by `reporter`.
    pub fn reporting(settings: Settings, reporter: Reporter) -> Self {
        let places = settings.concurrent.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared {
            settings,
            places: Arc::new(Semaphore::new(places)),
            waiting: AtomicUsize::new(0),
            reporter,
        }))
    }

    /// A place, kept until it is dropped; waits for one as the settings say.
    ///
    /// # Errors
    /// [`Full`].
    pub async fn enter(&self) -> Result<Place, Full> {
        if let Ok(permit) = self.0.places.clone().try_acquire_owned() {
            return Ok(Place { _permit: permit });
        }
        let waiting = Waiting::begin(self)?;
        let entered = env::timeout(
            self.0.settings.patience,
            self.0.places.clone().acquire_owned(),
        );
        let entered = entered.await;
        drop(waiting);
        match entered {
            Ok(Ok(permit)) => Ok(Place { _permit: permit }),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(self.full()),
        }
    }

    /// How many calls are inside.
    pub fn inside(&self) -> usize {
        let places = self.0.settings.concurrent.min(Semaphore::MAX_PERMITS);
        places - self.0.places.available_permits().min(places)
    }

    fn full(&self) -> Full {
        self.0.reporter.report(Decision::BulkheadRefused);
        Full {
            concurrent: self.0.settings.concurrent,
        }
    }
}

/// A place in a bulkhead.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// One of those who wait, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(bulkhead: &'a Bulkhead) -> Result<Self, Full> {
        let waiting = &bulkhead.0.waiting;
        let one = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= bulkhead.0.settings.waiting {
            return Err(bulkhead.full());
        }
        Ok(one)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
