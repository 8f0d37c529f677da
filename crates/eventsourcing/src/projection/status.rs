//! How far projections are, and the verbs of those who look after them.

use data::{Database, Row, Transaction, params};
use env::Timestamp;
use serde::Serialize;

use crate::{Error, Position, Result};

/// How far a version of a projection is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The name of the projection.
    pub name: String,
    /// The version.
    pub version: u32,
    /// What it is there for.
    pub state: State,
    /// The position of the last event that it took.
    pub position: Position,
    /// Whether it was told to stand still.
    pub paused: bool,
    /// How often the next event has failed; 0 where all is well.
    pub failures: u32,
    /// Why it failed the last time.
    pub error: Option<String>,
    /// When that was, or when an event was last taken.
    pub updated: Timestamp,
    /// What its tables are read by.
    #[serde(skip)]
    pub(super) tables: Vec<String>,
}

/// What a version of a projection is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is being built; another one serves.
    Building,
    /// It is what is read.
    Serving,
    /// A newer one serves; its tables are about to be dropped.
    Retired,
}

impl State {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Serving => "serving",
            Self::Retired => "retired",
        }
    }
}

const COLUMNS: &str = "name, version, state, position, paused, tables, failures, error, updated";

/// How far each version of each projection is, by name and version.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(db: &Database) -> Result<Vec<Status>> {
    let all = format!("SELECT {COLUMNS} FROM outrigger_projections ORDER BY name, version");
    let rows = db.query(&all, params![]).await?;
    rows.iter().map(read).collect()
}

/// How far the version of the projection `name` is that is read.
///
/// # Errors
/// [`Error::NoProjection`], [`Error::Database`].
pub async fn status(db: &Database, name: &str) -> Result<Status> {
    let one = format!(
        "SELECT {COLUMNS} FROM outrigger_projections WHERE name = $1 AND state = 'serving'"
    );
    let row = db.query_one(&one, params![name]).await?;
    row.as_ref().map_or_else(|| Err(none(name)), read)
}

/// Lets all versions of the projection `name` stand still, from the next transaction on, through restarts too.
///
/// # Errors
/// [`Error::NoProjection`], [`Error::Database`].
pub async fn pause(db: &Database, name: &str) -> Result<()> {
    set_paused(db, name, true).await
}

/// Lets the projection `name` go on where it stood still.
///
/// # Errors
/// [`Error::NoProjection`], [`Error::Database`].
pub async fn resume(db: &Database, name: &str) -> Result<()> {
    set_paused(db, name, false).await
}

/// Empties the tables of the projection `name` and lets it begin at the first event. What is read is incomplete until it
/// has caught up; to build it anew behind what is read, raise its version instead.
///
/// # Errors
/// [`Error::NoProjection`]; [`Error::NoTables`], when it does not say which tables are its own; [`Error::Database`].
pub async fn reset(db: &Database, name: &str) -> Result<()> {
    db.transaction(async |mut tx| {
        let versions = versions(&mut tx, name).await?;
        if versions.is_empty() {
            return Err(none(name));
        }
        for status in versions {
            if status.tables.is_empty() {
                return Err(Error::NoTables {
                    name: name.to_owned(),
                    version: status.version,
                });
            }
            for table in &status.tables {
                let empty = format!("DELETE FROM {}", physical(table, status.version));
                tx.execute(&empty, params![]).await?;
            }
        }
        let begin = "UPDATE outrigger_projections
                     SET position = $2, failures = 0, error = NULL, updated = $3 WHERE name = $1";
        let start = Position::START.to_string();
        tx.execute(begin, params![name, start, env::now()]).await?;
        tx.notify(crate::store::CHANNEL);
        Ok(())
    })
    .await
}

async fn set_paused(db: &Database, name: &str, paused: bool) -> Result<()> {
    db.transaction(async |mut tx| {
        let set = "UPDATE outrigger_projections SET paused = $2 WHERE name = $1";
        let set = tx.execute(set, params![name, i64::from(paused)]).await?;
        tx.notify(crate::store::CHANNEL);
        if set == 0 { Err(none(name)) } else { Ok(()) }
    })
    .await
}

/// What there is of the projection `name`, the oldest version first.
pub(super) async fn versions(tx: &mut Transaction, name: &str) -> Result<Vec<Status>> {
    let all =
        format!("SELECT {COLUMNS} FROM outrigger_projections WHERE name = $1 ORDER BY version");
    let rows = tx.query(&all, params![name]).await?;
    rows.iter().map(read).collect()
}

/// One version of the projection `name`, as it is committed.
pub(super) async fn version(db: &Database, name: &str, version: u32) -> Result<Option<Status>> {
    let one =
        format!("SELECT {COLUMNS} FROM outrigger_projections WHERE name = $1 AND version = $2");
    let row = db.query_one(&one, params![name, version]).await?;
    row.as_ref().map(read).transpose()
}

/// The table that `table` is in this version.
pub(super) fn physical(table: &str, version: u32) -> String {
    format!("{table}_v{version}")
}

fn none(name: &str) -> Error {
    Error::NoProjection {
        name: name.to_owned(),
    }
}

fn read(row: &Row) -> Result<Status> {
    let name: String = row.get("name")?;
    let state: String = row.get("state")?;
    let states = [State::Building, State::Serving, State::Retired];
    let damaged = |what: &str| Error::Damaged {
        name: name.clone(),
        what: what.to_owned(),
    };
    Ok(Status {
        version: row.get("version")?,
        state: states
            .into_iter()
            .find(|known| known.name() == state)
            .ok_or_else(|| damaged(&state))?,
        position: row
            .get::<String>("position")?
            .parse()
            .map_err(|error: crate::position::Unreadable| damaged(&error.to_string()))?,
        paused: row.get::<i64>("paused")? != 0,
        failures: row.get("failures")?,
        error: row.get("error")?,
        updated: row.get("updated")?,
        tables: serde_json::from_str(&row.get::<String>("tables")?)
            .map_err(|error| damaged(&error.to_string()))?,
        name,
    })
}
