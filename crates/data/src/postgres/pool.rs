//! The connections of a database: never more than so many, and nobody waits without a bound.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use env::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{connection::Connection, target::Target};
use crate::{Error, QUEUE_LIMIT, Result};

/// How long a connection may be idle before it is asked whether it is alive, when somebody wants it. On a busy
/// database none is asked.
const TRUSTED: Duration = Duration::from_secs(1);

/// How long a connection is waited for before the database counts as overloaded.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Pool {
    target: Arc<Target>,
    /// The one used last is taken first, so that a quiet service keeps using few.
    idle: Mutex<Vec<Idle>>,
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
        let connection = match self.alive().await {
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

    /// A connection that is still good, as far as one can know. When one does not answer, its server has vanished, and
    /// whatever else was idle goes with it: nobody waits for each of them.
    async fn alive(&self) -> Option<Connection> {
        let Idle {
            mut connection,
            since,
        } = self.newest()?;
        if env::instant().duration_since(since) < TRUSTED || connection.answers().await {
            return Some(connection);
        }
        self.idle().clear();
        None
    }

    /// The one used last; those that are known to be lost are dropped on the way.
    fn newest(&self) -> Option<Idle> {
        let mut idle = self.idle();
        while let Some(newest) = idle.pop() {
            if newest.connection.is_good() {
                return Some(newest);
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that nobody uses.
struct Idle {
    connection: Connection,
    since: Instant,
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
            let since = env::instant();
            self.pool.idle().push(Idle {
                connection: self.connection,
                since,
            });
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
