//! Which engine keeps a database, and the one place that asks.
//!
//! Above this, everything is the same for all engines but where [`Database::engine`] is asked for
//! on purpose.
//!
//! The futures of PostgreSQL are boxed: one that may connect is many times the size of one that never
//! waits, and every future that awaits it would carry that.
//!
//! [`Database::engine`]: crate::Database::engine

use std::{collections::BTreeSet, fmt};

use crate::{Result, Row, Value, changes::Changes, postgres, sqlite, transaction::Statement};

/// What keeps a database. For a library that must choose its SQL; services need not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// A file of this machine, in process.
    Sqlite,
    /// A server.
    Postgres,
}

impl Engine {
    /// What stands after `FROM` for the elements of the JSON array `$1`: rows called `item` with the column `value`, so
    /// that one statement writes many rows. `CAST(item.value ->> 0 AS BIGINT)` is the first of an array in it.
    pub const fn items(self) -> &'static str {
        match self {
            Engine::Sqlite => "json_each($1) AS item",
            Engine::Postgres => "jsonb_array_elements($1::jsonb) AS item (value)",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Sqlite => "SQLite",
            Engine::Postgres => "PostgreSQL",
        })
    }
}

/// An open database of some engine.
pub(crate) enum Backend {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
}

impl Backend {
    pub(crate) fn engine(&self) -> Engine {
        match self {
            Backend::Sqlite(_) => Engine::Sqlite,
            Backend::Postgres(_) => Engine::Postgres,
        }
    }

    pub(crate) async fn begin(&self) -> Result<Member> {
        match self {
            Backend::Sqlite(sqlite) => Ok(Member::Sqlite(sqlite.begin().await?)),
            Backend::Postgres(postgres) => Ok(Member::Postgres(Box::pin(postgres.begin()).await?)),
        }
    }

    pub(crate) async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        match self {
            Backend::Sqlite(sqlite) => sqlite.query(sql, params),
            Backend::Postgres(postgres) => Box::pin(postgres.query(sql, params)).await,
        }
    }

    pub(crate) fn changes(&self, channel: &'static str) -> Changes {
        match self {
            Backend::Sqlite(sqlite) => sqlite.channels().listen(channel, None),
            Backend::Postgres(postgres) => postgres.changes(channel),
        }
    }
}

/// A lock that makes a leader.
pub(crate) enum Hold {
    File(sqlite::Lock),
    Connection(postgres::Hold),
}

/// An open transaction of some engine. Dropped, it is rolled back.
pub(crate) enum Member {
    Sqlite(sqlite::Member),
    Postgres(postgres::Member),
}

impl Member {
    pub(crate) fn engine(&self) -> Engine {
        match self {
            Member::Sqlite(_) => Engine::Sqlite,
            Member::Postgres(_) => Engine::Postgres,
        }
    }

    pub(crate) async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        match self {
            Member::Sqlite(member) => member.execute(sql, params),
            Member::Postgres(member) => Box::pin(member.execute(sql, params)).await,
        }
    }

    /// What each of the statements changed.
    pub(crate) async fn execute_all(&mut self, statements: &[Statement]) -> Result<Vec<u64>> {
        match self {
            Member::Sqlite(member) => statements
                .iter()
                .map(|Statement { sql, params }| member.execute(sql, params))
                .collect(),
            Member::Postgres(member) => Box::pin(member.execute_all(statements)).await,
        }
    }

    pub(crate) async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        match self {
            Member::Sqlite(member) => member.query(sql, params),
            Member::Postgres(member) => Box::pin(member.query(sql, params)).await,
        }
    }

    /// Several statements without parameters.
    pub(crate) async fn batch(&mut self, sql: &str) -> Result<()> {
        match self {
            Member::Sqlite(member) => member.batch(sql),
            Member::Postgres(member) => Box::pin(member.batch(sql)).await,
        }
    }

    /// Runs what is left, keeps what was written, and returns when it is durable.
    pub(crate) async fn commit(
        self,
        closing: Vec<Statement>,
        notified: BTreeSet<&'static str>,
    ) -> Result<()> {
        match self {
            Member::Sqlite(member) => member.commit(closing, notified).await,
            Member::Postgres(member) => Box::pin(member.commit(closing, notified)).await,
        }
    }

    /// Undoes what was written, and returns when what was read is durable.
    pub(crate) async fn rollback(self) -> Result<()> {
        match self {
            Member::Sqlite(member) => member.rollback().await,
            Member::Postgres(member) => Box::pin(member.rollback()).await,
        }
    }
}
