//! Read-only connections, apart from the writer's.
//!
//! A query runs to its end on the calling task, so a connection is taken and given back within one
//! poll: there are never more in use than there are threads, and nobody waits for one.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rusqlite::{Connection, OpenFlags};

use super::{Place, prepare, statement};
use crate::{Error, Result, Row, Value, error::Kind};

/// How many idle connections the process that writes keeps.
const IDLE_LIMIT: usize = 8;

pub(super) struct Readers {
    place: Place,
    /// More idle connections than this are closed.
    idle_limit: usize,
    idle: Mutex<Vec<Connection>>,
    /// The file shows what it should. Held while something is read.
    reliable: RwLock<bool>,
}

/// Why nothing is read for the time being.
#[derive(Debug, thiserror::Error)]
#[error("the disk failed to sync the database: its log must be folded again first")]
struct Unreliable;

impl Readers {
    /// The readers of the process that writes.
    pub(super) fn new(place: Place) -> Self {
        Self::keeping(place, IDLE_LIMIT)
    }

    /// The readers of somebody who only looks. They keep nothing open between two queries: after a sync that failed the
    /// database must be opened [alone](super::recovery), and nobody would tell them to let go.
    pub(super) fn looking_on(place: Place) -> Self {
        Self::keeping(place, 0)
    }

    /// Those of somebody who only looks, and lets go of all of it at once.
    pub(super) fn glancing(place: Place) -> Self {
        Self::keeping(place, 1)
    }

    fn keeping(place: Place, idle_limit: usize) -> Self {
        Self {
            place,
            idle_limit,
            idle: Mutex::new(Vec::new()),
            reliable: RwLock::new(true),
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        let reliable = self.reliable.read().unwrap_or_else(PoisonError::into_inner);
        if !*reliable {
            return Err(Error::Statement {
                sql: sql.to_owned(),
                kind: Kind::Storage,
                source: Arc::new(Unreliable),
            });
        }
        let connection = self.take()?;
        let rows = statement::query(&connection, sql, params);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_limit {
            idle.push(connection);
        }
        rows
    }

    /// Waits for the queries that run, closes all connections, and refuses further queries.
    pub(super) fn suspend(&self) {
        *self
            .reliable
            .write()
            .unwrap_or_else(PoisonError::into_inner) = false;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.clear();
    }

    /// Queries are answered again.
    pub(super) fn resume(&self) {
        *self
            .reliable
            .write()
            .unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn take(&self) -> Result<Connection> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match idle {
            Some(connection) => Ok(connection),
            None => prepare(&self.place, OpenFlags::SQLITE_OPEN_READ_ONLY),
        }
    }
}
