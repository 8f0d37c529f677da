//! Read-only connections, apart from the writer's.
//!
//! A query runs to its end on the calling task, so a connection is taken and given back within one
//! poll: there are never more in use than there are threads, and nobody waits for one.

use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};

use super::{Place, prepare, statement};
use crate::{Result, Row, Value};

/// More idle connections than this are closed.
const IDLE_LIMIT: usize = 8;

pub(super) struct Readers {
    place: Place,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            idle: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        let connection = self.take()?;
        let rows = statement::query(&connection, sql, params);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_LIMIT {
            idle.push(connection);
        }
        rows
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
