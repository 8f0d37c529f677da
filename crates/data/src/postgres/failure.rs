//! The server's codes, read once.

use std::sync::Arc;

use tokio_postgres::error::{DbError, SqlState};

use super::{connection::BEGIN, value::Misfit};
use crate::{
    Error,
    error::{Cause, Kind},
};

/// What the server said, without the values of rows that its details quote.
#[derive(Debug, thiserror::Error)]
#[error("{message} ({code})")]
struct Refusal {
    message: String,
    code: String,
}

/// The error of a failed statement.
pub(super) fn failed(sql: &str, error: tokio_postgres::Error) -> Error {
    Error::Statement {
        sql: sql.to_owned(),
        kind: kind(&error),
        source: cause(error),
    }
}

/// A transaction that cannot even begin, such as on a server that follows another one now: the connection is of no
/// use, and the next one goes elsewhere.
pub(super) fn unbegun(error: tokio_postgres::Error) -> Error {
    Error::Statement {
        sql: BEGIN.to_owned(),
        kind: Kind::Connection,
        source: cause(error),
    }
}

/// A statement whose answer did not come.
pub(super) fn unanswered(sql: &str) -> Error {
    Error::Statement {
        sql: sql.to_owned(),
        kind: Kind::Connection,
        source: Arc::new(std::io::Error::from(std::io::ErrorKind::TimedOut)),
    }
}

pub(super) fn cause(error: tokio_postgres::Error) -> Cause {
    match error.as_db_error() {
        Some(refusal) => Arc::new(Refusal {
            message: refusal.message().to_owned(),
            code: refusal.code().code().to_owned(),
        }),
        None => Arc::new(error),
    }
}

pub(super) fn kind(error: &tokio_postgres::Error) -> Kind {
    if let Some(refusal) = error.as_db_error() {
        return kind_of_refusal(refusal);
    }
    let misfit = std::error::Error::source(error).is_some_and(|source| source.is::<Misfit>());
    if misfit {
        Kind::CheckViolation
    } else if error.is_closed() || is_io(error) {
        Kind::Connection
    } else {
        Kind::Other
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

fn kind_of_refusal(refusal: &DbError) -> Kind {
    let code = refusal.code();
    match *code {
        SqlState::UNIQUE_VIOLATION => return Kind::UniqueViolation,
        SqlState::FOREIGN_KEY_VIOLATION | SqlState::RESTRICT_VIOLATION => {
            return Kind::ForeignKeyViolation;
        }
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
            return Kind::Serialization;
        }
        // Somebody has changed a table since the statement was prepared; it is forgotten, and the
        // next run prepares it anew.
        SqlState::FEATURE_NOT_SUPPORTED if refusal.message().starts_with("cached plan") => {
            return Kind::Serialization;
        }
        SqlState::LOCK_NOT_AVAILABLE => return Kind::Busy,
        SqlState::QUERY_CANCELED => return Kind::Timeout,
        SqlState::DISK_FULL | SqlState::IO_ERROR => return Kind::Storage,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => return Kind::Connection,
        _ => {}
    }
    match code.code().get(..2) {
        Some("22" | "23") => Kind::CheckViolation,
        // Connection exceptions, too few resources, intervention of an operator.
        Some("08" | "53" | "57") => Kind::Connection,
        _ => Kind::Other,
    }
}

/// A connection that did not come about: whether it may later, or never as things are set.
pub(super) fn unconnected(place: String, error: tokio_postgres::Error) -> Error {
    let refused = error
        .as_db_error()
        .and_then(|refusal| refusal.code().code().get(..2))
        // Authorization, no such database, no such privilege.
        .is_some_and(|class| matches!(class, "28" | "3D" | "42"));
    // A handshake that failed, a password that is missing: the library says it in words only.
    let words = error.to_string();
    let misset = error.as_db_error().is_none()
        && ["TLS", "authentication", "configuration"]
            .iter()
            .any(|word| words.contains(word));
    let source = cause(error);
    if refused || misset {
        Error::Open {
            path: place,
            source,
        }
    } else {
        Error::Unavailable {
            path: place,
            source,
        }
    }
}
