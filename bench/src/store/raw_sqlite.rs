//! The same rows by `rusqlite` alone: one connection, one prepared statement, so many rows a commit.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, params};

use crate::{Result, account};

const TABLE: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE events (
        position INTEGER PRIMARY KEY,
        stream TEXT NOT NULL,
        version INTEGER NOT NULL,
        type TEXT NOT NULL,
        schema_version INTEGER NOT NULL,
        data TEXT NOT NULL,
        metadata TEXT NOT NULL,
        recorded INTEGER NOT NULL,
        UNIQUE (stream, version)
    ) STRICT";

/// Rows a second.
pub fn inserts(file: &Path, rows: usize, time: Duration) -> Result<f64> {
    let connection = Connection::open(file)?;
    connection.execute_batch(TABLE)?;
    let (data, metadata) = (account::stored()?, account::metadata());
    let started = env::instant();
    let (mut done, mut version) = (0_u64, 0_i64);
    while env::instant() - started < time {
        version += 1;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for writer in 0..rows {
            connection
                .prepare_cached(
                    "INSERT INTO events (stream, version, type, schema_version, data, metadata, recorded)
                     VALUES (?1, ?2, 'Deposited', 1, ?3, ?4, ?5)",
                )?
                .execute(params![
                    format!("account/account-{writer}"),
                    version,
                    data,
                    metadata,
                    env::now().as_millisecond()
                ])?;
        }
        connection.execute_batch("COMMIT")?;
        done += rows as u64;
    }
    Ok(done as f64 / (env::instant() - started).as_secs_f64())
}
