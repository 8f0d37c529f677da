//! What retries may cost: a share of the calls of the latest time, and a few a second where calls are rare.
//!
//! The idea and the figures are those of Finagle's `RetryBudget` and of linkerd: 20% of the calls of the last ten
//! seconds and 10 a second. A fixed number of retries multiplies the load of a service that fails as a whole; a budget
//! adds at most its share, however many callers there are.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use env::Instant;

use crate::breaker::window::Window;

/// How large a budget is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// So large a share of the calls may be made again, from 0. Default 0.2.
    pub share: f64,
    /// So many a second may be, whatever the share. Default 10.
    pub least: u32,
    /// The time over which both are counted. Default 10 s.
    pub window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            share: 0.2,
            least: 10,
            window: Duration::from_secs(10),
        }
    }
}

/// The account of a budget, without clock or lock.
#[derive(Debug)]
pub struct Ledger {
    settings: Settings,
    /// Calls, and among its second counts the retries.
    counts: Window,
}

impl Ledger {
    /// An account without calls.
    pub fn new(settings: Settings) -> Self {
        Self {
            counts: Window::new(settings.window),
            settings,
        }
    }

    /// So many calls were made first until `now`.
    pub fn deposit(&mut self, now: Instant, calls: u32) {
        self.counts.add(now, calls, 0);
    }

    /// Whether a call may be made again at `now`; if so, that is counted.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        let (calls, retries) = self.counts.totals(now);
        let least = f64::from(self.settings.least) * self.settings.window.as_secs_f64();
        let allowed = least + self.settings.share.max(0.0) * calls as f64;
        let granted = (retries + 1) as f64 <= allowed;
        if granted {
            self.counts.add(now, 0, 1);
        }
        granted
    }
}

/// So many calls are counted before one of them takes the lock and reads the clock.
const BATCH: u32 = 32;

/// A budget that calls share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Calls that are not in the ledger yet.
    pending: AtomicU32,
    ledger: Mutex<Ledger>,
}

impl Budget {
    /// A budget of which nothing is spent.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Shared {
            pending: AtomicU32::new(0),
            ledger: Mutex::new(Ledger::new(settings)),
        }))
    }

    /// Counts a call that is made for the first time.
    pub fn deposit(&self) {
        if self.0.pending.fetch_add(1, Ordering::Relaxed) % BATCH == BATCH - 1 {
            self.with(env::instant(), |_| ());
        }
    }

    /// Whether a call may be made again; if so, that is counted.
    pub fn withdraw(&self) -> bool {
        let now = env::instant();
        self.with(now, |ledger| ledger.withdraw(now))
    }

    fn with<T>(&self, now: Instant, act: impl FnOnce(&mut Ledger) -> T) -> T {
        // The ledger is whole between any two of its steps.
        let mut ledger = self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.deposit(now, self.0.pending.swap(0, Ordering::Relaxed));
        act(&mut ledger)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}
