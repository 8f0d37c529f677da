//! The engine for one machine: SQLite, in process, inline on the calling task.
//!
//! A prepared statement costs a few microseconds this way and many times that through a worker
//! thread; and what runs inline is the same in every simulated run.

mod member;
mod place;
mod readers;
mod session;
mod statement;
mod writer;

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, OpenFlags};

pub use self::writer::QUEUE_LIMIT;
pub(crate) use self::{member::Member, place::Place};
use self::{
    readers::Readers,
    session::Session,
    statement::{batch, cause, failed},
    writer::Writer,
};
use crate::{Engine, Error, Result, Row, Value, changes::Channels, framework::LEDGER};

/// 3.51.3: the first without the race between a checkpoint and a write that could corrupt a
/// database in WAL mode.
const REQUIRED: (i32, &str) = (3_051_003, "3.51.3");

/// For what another process may hold shortly while a database is opened.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements kept prepared on each connection.
const STATEMENT_CACHE: usize = 256;

/// An open SQLite database.
pub(crate) struct Sqlite {
    // Before the writer, so that the writer's connection closes last: that one folds the log into
    // the file.
    readers: Readers,
    writer: Option<Arc<Writer>>,
    channels: Arc<Channels>,
}

impl Sqlite {
    pub(crate) fn open(place: &Place) -> Result<Self> {
        place
            .make_folder()
            .map_err(|error| unopened(place, Arc::new(error)))?;
        let connection = prepare(
            place,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        )?;
        become_writer(&connection).map_err(|error| unopened(place, Arc::new(error)))?;
        let channels = Arc::new(Channels::default());
        let session = Session::new(connection, Arc::clone(&channels));
        let writer = Some(Arc::new(Writer::new(session)));
        Ok(Self {
            readers: Readers::new(place.clone()),
            writer,
            channels,
        })
    }

    pub(crate) fn inspect(place: &Place) -> Result<Self> {
        let readers = Readers::new(place.clone());
        readers.query("SELECT count(*) FROM sqlite_schema", &[])?;
        Ok(Self {
            readers,
            writer: None,
            channels: Arc::default(),
        })
    }

    pub(crate) async fn begin(&self) -> Result<Member> {
        match &self.writer {
            Some(writer) => Member::begin(writer).await,
            None => Err(Error::ReadOnly),
        }
    }

    pub(crate) fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        self.readers.query(sql, params)
    }

    pub(crate) fn channels(&self) -> &Channels {
        &self.channels
    }
}

/// Opens a connection with what holds for readers and the writer alike.
fn prepare(place: &Place, access: OpenFlags) -> Result<Connection> {
    check_version(rusqlite::version_number(), rusqlite::version())?;
    let open = || {
        let connection = place.connect(access)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY")?;
        Ok(connection)
    };
    open().map_err(|error| unopened(place, cause(error)))
}

/// Write-ahead log, so that readers need not wait; `FULL`, so that a `COMMIT` returns when the disk
/// has it.
fn become_writer(connection: &Connection) -> Result<()> {
    const WAL: &str = "PRAGMA journal_mode = WAL";
    let mode: String = connection
        .query_row(WAL, [], |row| row.get(0))
        .map_err(|error| failed(WAL, error))?;
    if mode != "wal" {
        let source = Arc::new(std::io::Error::other(format!(
            "the file system allows `{mode}` only"
        )));
        return Err(Error::Statement {
            sql: WAL.to_owned(),
            kind: crate::error::Kind::Storage,
            source,
        });
    }
    batch(connection, "PRAGMA synchronous = FULL")?;
    batch(connection, &format!("BEGIN IMMEDIATE; {LEDGER} COMMIT"))?;
    // From here on `begin` waits for other processes, without blocking the thread.
    connection
        .busy_timeout(Duration::ZERO)
        .map_err(|error| failed("busy_timeout", error))
}

/// The version of the bundled SQLite.
///
/// # Errors
/// [`Error::OldEngine`], as opening a database would say.
pub fn sqlite_version() -> Result<&'static str> {
    check_version(rusqlite::version_number(), rusqlite::version())?;
    Ok(rusqlite::version())
}

fn check_version(number: i32, name: &str) -> Result<()> {
    if number < REQUIRED.0 {
        return Err(Error::OldEngine {
            engine: Engine::Sqlite,
            found: name.to_owned(),
            required: REQUIRED.1.to_owned(),
        });
    }
    Ok(())
}

fn unopened(place: &Place, source: crate::error::Cause) -> Error {
    Error::Open {
        path: place.path().display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::check_version;

    #[test]
    fn an_old_library_is_refused_with_both_versions_named() {
        let error = check_version(3_051_002, "3.51.2").expect_err("too old");
        assert_eq!(
            error.to_string(),
            "SQLite 3.51.2 is too old: 3.51.3 or later is needed"
        );
        check_version(3_051_003, "3.51.3").expect("new enough");
    }
}
