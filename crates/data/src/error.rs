//! What can go wrong, classified once, here, so that nobody above reads an engine's codes.

use std::sync::Arc;

use crate::Engine;

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The engine's own error. Shared, because all members of a group fail with the same one.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// What went wrong, with what, and what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL names no engine that this build has. The rest of the URL is not shown: it may hold a
    /// password.
    #[error(
        "cannot open a `{scheme}` database: write `sqlite:path/to/file.sqlite` or `postgres://user:password@host/database`"
    )]
    UnsupportedUrl {
        /// What stands before the colon.
        scheme: String,
    },
    /// The URL has a parameter that means nothing.
    #[error(
        "the URL of the database sets `{parameter}`, which means nothing{}: there are `{}`",
        hint(*nearest), known.join("`, `")
    )]
    UrlParameter {
        /// The parameter. Its value is shown where it can be no secret.
        parameter: String,
        /// The one that was probably meant.
        nearest: Option<&'static str>,
        /// All that there are.
        known: &'static [&'static str],
    },
    /// The URL of a PostgreSQL database cannot be read. It is not shown: it may hold a password.
    #[error("the URL of the database is wrong: {problem}")]
    Url {
        /// What to write instead.
        problem: &'static str,
    },
    /// The linked SQLite has known faults that our guarantees depend on being absent, or the server
    /// lacks what they depend on.
    #[error("{engine} {found} is too old: upgrade it to {required} or later")]
    OldEngine {
        /// Which engine.
        engine: Engine,
        /// The version of the linked library, or of the server.
        found: String,
        /// The first version that will do.
        required: String,
    },
    /// The file could not be opened or prepared, or the server refuses us.
    #[error("cannot open the database {path}: see that it is there, and that we may use it")]
    Open {
        /// Where it is, without user and password.
        path: String,
        /// Why not.
        #[source]
        source: Cause,
    },
    /// The file is no database, or a damaged one. Nothing was changed.
    #[error(
        "the database {path} is damaged: restore it from a backup, or save what `sqlite3 {path} .recover` still finds, and look after the disk"
    )]
    Damaged {
        /// Where it is.
        path: String,
        /// What the engine found.
        #[source]
        source: Cause,
    },
    /// The server does not answer, or is starting or stopping. Nothing was done: try later.
    #[error(
        "the database {path} cannot be reached: see that it runs and is named rightly; nothing was done, so try again"
    )]
    Unavailable {
        /// Where it is, without user and password.
        path: String,
        /// Why not.
        #[source]
        source: Cause,
    },
    /// The database was opened with [`Database::inspect`](crate::Database::inspect).
    #[error(
        "the database was opened for inspection, where there are no transactions: open it to write"
    )]
    ReadOnly,
    /// Too many transactions are waiting for the writer, or for a connection. Nothing was done: try later, or shed load.
    #[error(
        "{waiting} transactions wait for the database already: try again later; where that lasts, look for transactions that are slow or left open, or raise `pool_size` in the URL of a server"
    )]
    Overloaded {
        /// How many wait.
        waiting: usize,
    },
    /// The engine refused a statement. The transaction can only be rolled back.
    #[error("statement failed{}: {sql}", kind.advice())]
    Statement {
        /// Its text, without the values.
        sql: String,
        /// What kind of refusal it was.
        kind: Kind,
        /// The engine's error.
        #[source]
        source: Cause,
    },
    /// A statement was given too few or too many values.
    #[error("{expected} values expected, {given} given: {sql}")]
    Parameters {
        /// The statement.
        sql: String,
        /// The highest `$n` in it.
        expected: usize,
        /// How many came.
        given: usize,
    },
    /// A parameter is not of the form `$1`, which is the one that every engine understands.
    #[error("parameter `{parameter}` is not of the form $1: {sql}")]
    ParameterForm {
        /// The statement.
        sql: String,
        /// The parameter as written; empty for a bare `?`.
        parameter: String,
    },
    /// A statement that begins, ends or configures transactions. Use
    /// [`Transaction`](crate::Transaction)'s methods.
    #[error("not inside a transaction, which `commit` and `rollback` end: {sql}")]
    TransactionControl {
        /// The statement.
        sql: String,
    },
    /// An earlier statement of the transaction failed, so it is whole no more. Roll back and run it
    /// again.
    #[error("an earlier statement of this transaction failed: roll it back and run it again")]
    Aborted,
    /// The transaction is not durable: the commit of its group failed, or a failure in another
    /// member (a full disk) made the engine roll the whole group back. Run it again, as after a
    /// crash.
    #[error("the transaction was not committed{}: run it again", kind.advice())]
    NotCommitted {
        /// What kind of failure undid it.
        kind: Kind,
        /// What the engine said.
        #[source]
        source: Cause,
    },
    /// The connection was lost between `COMMIT` and its answer, or the disk failed amid it: whether
    /// the transaction is durable is not known here. Look, or run it again if that does no harm
    /// (behind an inbox or an idempotency key it does none).
    #[error(
        "the connection or the disk failed during the commit, which may have happened or not: look, or run it again where twice does no harm"
    )]
    CommitUnknown {
        /// What became of the connection, or of the disk.
        #[source]
        source: Cause,
    },
    /// Another process leads in this matter now. Roll back, and stop doing what only a leader does.
    #[error(
        "leadership {epoch} of `{name}` has ended and another one begun: stop, and ask to lead again"
    )]
    Deposed {
        /// The matter.
        name: String,
        /// The epoch that has ended.
        epoch: i64,
    },
    /// A row has no such column.
    #[error("no column {column} among: {present}")]
    NoColumn {
        /// The name or the position asked for.
        column: String,
        /// The names there are.
        present: String,
    },
    /// A value cannot be read as the type asked for.
    #[error("column {column} holds {found}, which is no {expected}")]
    Type {
        /// The name or the position.
        column: String,
        /// The type asked for.
        expected: &'static str,
        /// What kind of value is there.
        found: &'static str,
    },
    /// An applied migration has other SQL now. Restore it, and make the change in a new migration.
    #[error(
        "migration {version} `{name}` of {part} was changed after it had been applied: restore it, and make the change in a new migration"
    )]
    MigrationChanged {
        /// Whose schema.
        part: String,
        /// Its number.
        version: u32,
        /// Its name, as applied.
        name: String,
    },
    /// The list of migrations does not go on from where the database is.
    #[error("migration {version} `{name}` of {part} {problem}")]
    MigrationOrder {
        /// Whose schema.
        part: String,
        /// Its number.
        version: u32,
        /// Its name.
        name: String,
        /// What is wrong with its place.
        problem: &'static str,
    },
    /// A constraint that is checked at `COMMIT` would fail a whole group for one member's fault.
    /// Make it an immediate one.
    #[error(
        "migration {version} `{name}` of {part} has a constraint INITIALLY DEFERRED: make it immediate"
    )]
    MigrationDeferred {
        /// Whose schema.
        part: String,
        /// Its number.
        version: u32,
        /// Its name.
        name: String,
    },
    /// The SQL of a migration failed. It left no trace.
    #[error(
        "migration {version} `{name}` of {part} failed and left no trace: correct it and start again"
    )]
    Migration {
        /// Whose schema.
        part: String,
        /// Its number.
        version: u32,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
}

/// What kind of refusal a failed statement met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A second row with a unique or primary key.
    UniqueViolation,
    /// A row that points to none, or whose target would go.
    ForeignKeyViolation,
    /// A value that a `CHECK`, a `NOT NULL` or the type of a column refuses.
    CheckViolation,
    /// Another process holds the database.
    Busy,
    /// Another transaction changed what this one has read, or both waited for each other.
    Serialization,
    /// The connection was lost, or the server is stopping or full.
    Connection,
    /// It took longer than a statement may.
    Timeout,
    /// The disk is full or fails.
    Storage,
    /// The file is damaged.
    Corrupt,
    /// Anything else: mostly SQL that does not fit the schema.
    Other,
}

impl Kind {
    /// What to do about it, for messages.
    fn advice(self) -> &'static str {
        match self {
            Kind::Busy => " (another process holds the database: try again)",
            Kind::Serialization => " (it met another transaction: run it again)",
            Kind::Connection => {
                " (the connection is lost, or the server is stopping or full: run it again)"
            }
            Kind::Timeout => {
                " (it took too long: make it faster, see what it waits for, or raise `statement_timeout` in the URL)"
            }
            Kind::Storage => {
                " (the disk of the database is full or fails: make room, or replace it)"
            }
            Kind::Corrupt => " (the file is damaged: restore it from a backup)",
            Kind::UniqueViolation
            | Kind::ForeignKeyViolation
            | Kind::CheckViolation
            | Kind::Other => "",
        }
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}

/// When the same transaction may be run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// At its turn: it met another one.
    InTurn,
    /// Once something works again, or has less to do.
    Later,
}

impl Error {
    /// Of a parameter that is none of the `known` ones.
    pub(crate) fn url_parameter(parameter: &str, known: &'static [&'static str]) -> Self {
        Self::UrlParameter {
            parameter: parameter.to_owned(),
            nearest: env::config::nearest(parameter, known.iter().copied()),
            known,
        }
    }

    /// A row with this unique or primary key exists.
    pub fn is_unique_violation(&self) -> bool {
        matches!(
            self,
            Error::Statement {
                kind: Kind::UniqueViolation,
                ..
            }
        )
    }

    /// A `CHECK`, a `NOT NULL` or the type of a column refused a value.
    pub fn is_check_violation(&self) -> bool {
        matches!(
            self,
            Error::Statement {
                kind: Kind::CheckViolation,
                ..
            }
        )
    }

    /// The same transaction may succeed when it is run again from its beginning, and nothing of it
    /// has happened yet. (So not [`CommitUnknown`](Error::CommitUnknown).)
    pub fn is_retryable(&self) -> bool {
        self.again().is_some()
    }

    /// It is retryable, and because of another transaction: nothing is broken, so it is run again at once, when it is
    /// its [turn](crate::Turn).
    pub fn is_conflict(&self) -> bool {
        self.again() == Some(Again::InTurn)
    }

    pub(crate) fn again(&self) -> Option<Again> {
        match self {
            Error::NotCommitted { kind, .. } => match kind {
                Kind::Storage | Kind::Connection => Some(Again::Later),
                _ => Some(Again::InTurn),
            },
            Error::Overloaded { .. } | Error::Unavailable { .. } => Some(Again::Later),
            Error::Statement { kind, .. } => match kind {
                Kind::Serialization => Some(Again::InTurn),
                Kind::Busy | Kind::Storage | Kind::Connection => Some(Again::Later),
                _ => None,
            },
            Error::Migration { source, .. } => source.again(),
            _ => None,
        }
    }
}
