//! The tables of sagas, and all statements on them.

use data::{Database, Migration, Row, Transaction, params};
use env::Timestamp;

use crate::{Error, Failure, Result, State, Status, journal::Entry, step::Progress};

pub(crate) const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "sagas",
    "
        CREATE TABLE outrigger_sagas (
            id TEXT PRIMARY KEY,
            saga TEXT NOT NULL,
            input TEXT NOT NULL,
            state TEXT NOT NULL,
            failure TEXT,
            parked TEXT,
            correlation_id TEXT NOT NULL,
            traceparent TEXT,
            started BIGINT NOT NULL,
            updated BIGINT NOT NULL
        );
        CREATE INDEX outrigger_sagas_state ON outrigger_sagas (state, updated, id);
        CREATE TABLE outrigger_saga_journal (
            saga_id TEXT NOT NULL REFERENCES outrigger_sagas (id),
            position BIGINT NOT NULL,
            entry TEXT NOT NULL,
            PRIMARY KEY (saga_id, position)
        );",
)];

/// A saga as a step needs it.
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) saga: String,
    pub(crate) input: String,
    pub(crate) correlation_id: String,
    pub(crate) traceparent: Option<String>,
}

/// Writes a new saga down; false when there is one with its id.
pub(crate) async fn insert(tx: &mut Transaction, record: &Record) -> Result<bool> {
    let inserted = tx
        .execute(
            "INSERT INTO outrigger_sagas
             (id, saga, input, state, correlation_id, traceparent, started, updated)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT DO NOTHING",
            params![
                record.id.as_str(),
                record.saga.as_str(),
                record.input.as_str(),
                State::Running.as_str(),
                record.correlation_id.as_str(),
                record.traceparent.as_deref(),
                env::now()
            ],
        )
        .await?;
    Ok(inserted == 1)
}

/// Takes a saga to step it: whoever else would has to wait for this transaction. Its state is the one before.
pub(crate) async fn take(tx: &mut Transaction, id: &str) -> Result<Option<(Record, State)>> {
    let taken = tx
        .query_one(
            "UPDATE outrigger_sagas SET updated = $2 WHERE id = $1
             RETURNING id, saga, input, state, correlation_id, traceparent",
            params![id, env::now()],
        )
        .await?;
    let Some(row) = taken else { return Ok(None) };
    let record = Record {
        id: row.get("id")?,
        saga: row.get("saga")?,
        input: row.get("input")?,
        correlation_id: row.get("correlation_id")?,
        traceparent: row.get("traceparent")?,
    };
    Ok(Some((record, state(&row)?)))
}

const JOURNAL: &str =
    "SELECT position, entry FROM outrigger_saga_journal WHERE saga_id = $1 ORDER BY position";

pub(crate) async fn journal(tx: &mut Transaction, id: &str) -> Result<Vec<Entry>> {
    entries(id, &tx.query(JOURNAL, params![id]).await?)
}

/// The journal as it is committed, to look at.
pub(crate) async fn read_journal(db: &Database, id: &str) -> Result<Vec<Entry>> {
    entries(id, &db.query(JOURNAL, params![id]).await?)
}

fn entries(id: &str, rows: &[Row]) -> Result<Vec<Entry>> {
    let entry = |row: &Row| {
        let json: String = row.get("entry")?;
        serde_json::from_str(&json).map_err(|source| Error::Journal {
            id: id.to_owned(),
            entry: json,
            source,
        })
    };
    rows.iter().map(entry).collect()
}

/// Adds to a journal that has `length` entries.
pub(crate) async fn append(
    tx: &mut Transaction,
    id: &str,
    length: usize,
    entries: &[Entry],
) -> Result<()> {
    for (position, entry) in (length..).zip(entries) {
        let json = serde_json::to_string(entry).map_err(|source| Error::Encode {
            id: id.to_owned(),
            source,
        })?;
        // A journal is bounded by the number of steps: its length fits.
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        tx.execute(
            "INSERT INTO outrigger_saga_journal (saga_id, position, entry) VALUES ($1, $2, $3)",
            params![id, position, json],
        )
        .await?;
    }
    Ok(())
}

/// Writes down how far a saga is.
pub(crate) async fn update(tx: &mut Transaction, id: &str, progress: &Progress) -> Result<()> {
    let (failure, parked) = match progress {
        Progress::Running | Progress::Completed => (None, None),
        Progress::Compensating(failure) => (failure.as_ref(), None),
        Progress::Compensated(failure) => (Some(failure), None),
        Progress::Parked(reason) => (None, Some(reason.as_str())),
    };
    let failure = failure
        .map(serde_json::to_string)
        .transpose()
        .map_err(|source| Error::Encode {
            id: id.to_owned(),
            source,
        })?;
    tx.execute(
        "UPDATE outrigger_sagas SET state = $2, failure = $3, parked = $4 WHERE id = $1",
        params![id, State::of(progress).as_str(), failure, parked],
    )
    .await?;
    Ok(())
}

const STATUS: &str = "SELECT id, saga, state, failure, parked, correlation_id, started, updated FROM outrigger_sagas";

pub(crate) async fn status(db: &Database, id: &str) -> Result<Option<Status>> {
    let row = db
        .query_one(&format!("{STATUS} WHERE id = $1"), params![id])
        .await?;
    row.as_ref().map(read).transpose()
}

/// The sagas of a state, those first that nothing has happened to for the longest time.
pub(crate) async fn list(db: &Database, state: State, limit: u32) -> Result<Vec<Status>> {
    let sql = format!("{STATUS} WHERE state = $1 ORDER BY updated, id LIMIT $2");
    let rows = db.query(&sql, params![state.as_str(), limit]).await?;
    rows.iter().map(read).collect()
}

/// Deletes up to `limit` sagas that ended before `before`, and their journals; how many.
pub(crate) async fn forget(tx: &mut Transaction, before: Timestamp, limit: u32) -> Result<usize> {
    let find = "SELECT id FROM outrigger_sagas WHERE state IN ($1, $2) AND updated < $3 LIMIT $4";
    let (completed, compensated) = (State::Completed.as_str(), State::Compensated.as_str());
    let ended = tx
        .query(find, params![completed, compensated, before, limit])
        .await?;
    for row in &ended {
        let id: String = row.get("id")?;
        let journal = "DELETE FROM outrigger_saga_journal WHERE saga_id = $1";
        tx.execute(journal, params![id.as_str()]).await?;
        let saga = "DELETE FROM outrigger_sagas WHERE id = $1";
        tx.execute(saga, params![id]).await?;
    }
    Ok(ended.len())
}

fn read(row: &Row) -> Result<Status> {
    let id: String = row.get("id")?;
    let failure: Option<String> = row.get("failure")?;
    let failure: Option<Failure> = failure
        .map(|json| {
            serde_json::from_str(&json).map_err(|source| Error::Journal {
                id: id.clone(),
                entry: json,
                source,
            })
        })
        .transpose()?;
    Ok(Status {
        id,
        saga: row.get("saga")?,
        state: state(row)?,
        failure,
        parked: row.get("parked")?,
        correlation_id: row.get("correlation_id")?,
        started: row.get::<Timestamp>("started")?,
        updated: row.get::<Timestamp>("updated")?,
    })
}

fn state(row: &Row) -> Result<State> {
    let text: String = row.get("state")?;
    State::parse(&text).ok_or(Error::UnknownState { state: text })
}
