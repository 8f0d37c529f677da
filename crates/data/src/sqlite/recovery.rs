//! What to do when the disk failed to sync.
//!
//! After a sync that failed, the kernel forgets what it could not write, and the next sync succeeds
//! without it ("fsyncgate"). So nothing is tried again and believed. There are two cases.
//!
//! **A commit.** SQLite has written the group into the log, with the mark of a commit, and does not
//! count it. But who opens the database after a crash finds it in the log, and counts it if the disk
//! has it. So before anybody is told that the group has not come to be, something else is
//! [written over it](overwrite), and synced. If that fails too, the outcome is unknown.
//!
//! **Folding the log into the file.** A fold that readers cut short marks its part as done without a
//! sync, because the next fold will sync it; and that one's sync may lose it. So the whole log is
//! folded again: [`replay`] opens the database alone, which makes SQLite count the log from its
//! beginning.

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{Place, prepare, statement};
use crate::Result;

/// Writes over what a commit that failed left in the log. It changes nothing.
pub(super) fn overwrite(connection: &Connection) -> Result<()> {
    if !connection.is_autocommit() {
        statement::batch(connection, "ROLLBACK")?;
    }
    // The least that always writes a page: the header keeps its own number, and is written with it.
    const NUMBER: &str = "PRAGMA user_version";
    let rows = statement::query(connection, NUMBER, &[])?;
    let number: i64 = rows.first().map_or(Ok(0), |row| row.get(0))?;
    statement::batch(connection, &format!("{NUMBER} = {number}"))
}

/// The connection does not fold the log when it closes, as the last one otherwise does.
pub(super) fn keep_log(connection: &Connection) -> Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map(drop)
        .map_err(|error| statement::failed("SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE", error))
}

/// Folds the whole log, while nobody else has the database open.
pub(super) fn replay(place: &Place) -> Result<()> {
    let connection = prepare(place, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    keep_log(&connection)?;
    connection
        .busy_timeout(std::time::Duration::ZERO)
        .map_err(|error| statement::failed("busy_timeout", error))?;
    // Alone, SQLite keeps the index of the log to itself, and so makes it anew.
    statement::query(&connection, "PRAGMA locking_mode = EXCLUSIVE", &[])?;
    statement::query(&connection, "SELECT count(*) FROM sqlite_schema", &[])?;
    statement::query(&connection, "PRAGMA wal_checkpoint(TRUNCATE)", &[]).map(drop)
}
