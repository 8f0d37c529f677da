//! The engine for one machine: SQLite, in process, inline on the calling task.
//!
//! A prepared statement costs a few microseconds this way and many times that through a worker
//! thread; and what runs inline is the same in every simulated run.

mod folding;
mod lock;
mod member;
mod place;
mod readers;
mod recovery;
mod session;
mod statement;
mod writer;

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

pub use self::writer::QUEUE_LIMIT;
pub(crate) use self::{lock::Lock, member::Member, place::Place};
use self::{
    readers::Readers,
    session::Session,
    statement::{batch, cause, failed, query},
    writer::Writer,
};
use crate::{Engine, Error, Result, Row, Value, changes::Channels, error::Kind, framework::LEDGER};

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
    readers: Arc<Readers>,
    writer: Option<Arc<Writer>>,
    channels: Arc<Channels>,
    place: Place,
}

impl Sqlite {
    pub(crate) fn open(place: &Place) -> Result<Self> {
        place
            .make_folder()
            .map_err(|error| unopened(place, Arc::new(error)))?;
        let connection = open_writer(place)?;
        let readers = Arc::new(Readers::new(place.clone()));
        let channels = Arc::new(Channels::default());
        let session = Session::new(connection, Arc::clone(&readers), Arc::clone(&channels));
        let writer = Some(Writer::new(session));
        Ok(Self {
            readers,
            writer,
            channels,
            place: place.clone(),
        })
    }

    pub(crate) fn inspect(place: &Place) -> Result<Self> {
        let readers = Arc::new(Readers::looking_on(place.clone()));
        readers
            .query("SELECT count(*) FROM sqlite_schema", &[])
            .map_err(|error| name_damage(place, error))?;
        Ok(Self {
            readers,
            writer: None,
            channels: Arc::default(),
            place: place.clone(),
        })
    }

    /// The same file for somebody who only looks and soon lets go; `None` where it is open for writing.
    pub(crate) fn glance(&self) -> Option<Self> {
        self.writer.is_none().then(|| Self {
            readers: Arc::new(Readers::glancing(self.place.clone())),
            writer: None,
            channels: Arc::default(),
            place: self.place.clone(),
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

    /// Takes the lock called `name`; `None` when another one has it.
    pub(crate) fn hold(&self, name: &str) -> Result<Option<Lock>> {
        if self.writer.is_none() {
            return Err(Error::ReadOnly);
        }
        Lock::take(&self.place, name).map_err(|error| unopened(&self.place, Arc::new(error)))
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
        // A plan depends on no bound value. Otherwise statements such as those with `LIMIT $1` are compiled again and
        // again, as their values change.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY")?;
        Ok(connection)
    };
    open().map_err(|error| unopened(place, cause(error)))
}

fn open_writer(place: &Place) -> Result<Connection> {
    let connection = prepare(
        place,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    )?;
    match become_writer(&connection).map_err(|error| name_damage(place, error)) {
        Ok(()) => Ok(connection),
        Err(error @ Error::Damaged { .. }) => Err(error),
        Err(error) => Err(unopened(place, Arc::new(error))),
    }
}

/// Write-ahead log, so that readers need not wait; `FULL`, so that a `COMMIT` returns when the disk
/// has it.
fn become_writer(connection: &Connection) -> Result<()> {
    const WAL: &str = "PRAGMA journal_mode = WAL";
    // To its end: the change is committed there, after the row that announces it.
    let rows = query(connection, WAL, &[])?;
    let mode: String = rows.first().map_or(Ok(String::new()), |row| row.get(0))?;
    if mode != "wal" {
        let source = Arc::new(std::io::Error::other(format!(
            "the file system allows `{mode}` only"
        )));
        return Err(Error::Statement {
            sql: WAL.to_owned(),
            kind: Kind::Storage,
            source,
        });
    }
    batch(connection, "PRAGMA synchronous = FULL")?;
    batch(connection, "PRAGMA wal_autocheckpoint = 0")?;
    let kept = format!("PRAGMA journal_size_limit = {}", folding::KEPT_BYTES);
    batch(connection, &kept)?;
    batch(connection, &format!("BEGIN IMMEDIATE; {LEDGER} COMMIT"))?;
    // Folds what a process before this one left, and the header of a new file. If a sync of theirs
    // failed, the kernel may show what the disk does not have: this writes it once more. (When
    // another process has the database open, SQLite only says so.)
    batch(connection, "PRAGMA wal_checkpoint(TRUNCATE)")?;
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

/// Says what to do when the file is no whole database.
fn name_damage(place: &Place, error: Error) -> Error {
    match error {
        Error::Statement {
            kind: Kind::Corrupt,
            source,
            ..
        } => Error::Damaged {
            path: place.path().display().to_string(),
            source,
        },
        error => error,
    }
}

fn unopened(place: &Place, source: crate::error::Cause) -> Error {
    Error::Open {
        path: place.path().display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{OpenFlags, StatementStatus};

    use super::{Place, check_version, prepare, query};

    #[test]
    fn a_statement_is_compiled_once_whatever_values_it_gets() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("x.sqlite").display());
        let place = Place::of(&url).expect("a place");
        let access = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection = prepare(&place, access).expect("a connection");
        const SOME: &str = "SELECT name FROM sqlite_schema ORDER BY name LIMIT $1";
        for limit in [0, 64, 1, 63, 0] {
            query(&connection, SOME, &[i64::from(limit).into()]).expect("rows");
        }
        let statement = connection.prepare_cached(SOME).expect("a statement");
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }

    #[test]
    fn an_old_library_is_refused_with_both_versions_named() {
        let error = check_version(3_051_002, "3.51.2").expect_err("too old");
        assert_eq!(
            error.to_string(),
            "SQLite 3.51.2 is too old: upgrade it to 3.51.3 or later"
        );
        check_version(3_051_003, "3.51.3").expect("new enough");
    }
}
