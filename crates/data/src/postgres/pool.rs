//! The connections of a database: never more than so many, and nobody waits without a bound.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{connection::Connection, target::Target};
use crate::{Error, QUEUE_LIMIT, Result};

/// How long a connection is waited for before the database counts as overloaded.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Pool {
    target: Arc<Target>,
    /// The one used last is taken first, so that a quiet service keeps using few.
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Pool {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(target.pool_size)),
            target,
            idle: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for a connection, in the order of asking.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Lease> {
        let permit = self.permit().await?;
        let connection = match self.idle() {
            Some(connection) => connection,
            None => Connection::open(&self.target).await?,
        };
        Ok(Lease {
            connection,
            pool: Arc::clone(self),
            _permit: permit,
        })
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        let permits = Arc::clone(&self.permits);
        if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = Waiting::one_more(&self.waiting);
        let overloaded = Error::Overloaded {
            waiting: waiting.before,
        };
        if waiting.before >= QUEUE_LIMIT {
            return Err(overloaded);
        }
        match env::timeout(WAIT_LIMIT, permits.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(overloaded), // nobody closes it, so it took too long
        }
    }

    /// A connection that is still good; those that are not are dropped on the way.
    fn idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = idle.pop() {
            if connection.is_good() {
                return Some(connection);
            }
        }
        None
    }
}

/// A connection for as long as it is needed. Dropped, it is closed: only who knows that no
/// transaction is open on it [gives it back](Lease::give_back).
pub(super) struct Lease {
    pub(super) connection: Connection,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    pub(super) fn give_back(self) {
        if self.connection.is_good() {
            let mut idle = self
                .pool
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            idle.push(self.connection);
        }
    }
}

/// One who waits, counted until it is dropped.
struct Waiting<'c> {
    count: &'c AtomicUsize,
    before: usize,
}

impl<'c> Waiting<'c> {
    fn one_more(count: &'c AtomicUsize) -> Self {
        Self {
            before: count.fetch_add(1, Ordering::Relaxed),
            count,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
