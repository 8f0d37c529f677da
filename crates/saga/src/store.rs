//! The tables of sagas, and all statements on them.

use data::{Database, Engine, Migration, Row, Transaction, Value, params};
use env::Timestamp;

use crate::{Error, Failure, Result, State, Status, journal::Entry, local, step::Progress};

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration::new(
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
    ),
    Migration::new(
        2,
        "fencing, times, children, signals",
        "
        ALTER TABLE outrigger_sagas ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;
        ALTER TABLE outrigger_sagas ADD COLUMN parent TEXT;
        ALTER TABLE outrigger_sagas ADD COLUMN answer_seq BIGINT;
        ALTER TABLE outrigger_sagas ADD COLUMN reverting BIGINT NOT NULL DEFAULT 0;
        ALTER TABLE outrigger_saga_journal ADD COLUMN written BIGINT NOT NULL DEFAULT 0;
        CREATE TABLE outrigger_saga_mailboxes (
            event TEXT NOT NULL,
            key TEXT NOT NULL,
            turn BIGINT NOT NULL,
            PRIMARY KEY (event, key)
        );
        CREATE TABLE outrigger_saga_signals (
            event TEXT NOT NULL,
            key TEXT NOT NULL,
            turn BIGINT NOT NULL,
            data TEXT NOT NULL,
            received BIGINT NOT NULL,
            PRIMARY KEY (event, key, turn)
        );
        CREATE INDEX outrigger_saga_signals_by_time ON outrigger_saga_signals (received);
        CREATE TABLE outrigger_saga_waits (
            saga_id TEXT NOT NULL REFERENCES outrigger_sagas (id),
            seq BIGINT NOT NULL,
            event TEXT NOT NULL,
            key TEXT NOT NULL,
            turn BIGINT NOT NULL,
            PRIMARY KEY (saga_id, seq)
        );
        CREATE INDEX outrigger_saga_waits_by_key ON outrigger_saga_waits (event, key, turn);",
    ),
    Migration::new(
        3,
        "deadlines",
        "ALTER TABLE outrigger_sagas ADD COLUMN deadline BIGINT",
    ),
];

/// A saga as a step needs it.
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) saga: String,
    pub(crate) input: String,
    pub(crate) correlation_id: String,
    pub(crate) traceparent: Option<String>,
    pub(crate) parent: Option<Parent>,
    /// When it is to have ended.
    pub(crate) deadline: Option<Timestamp>,
    /// How often it was taken. Who writes must know the last number: a stale one changes nothing.
    pub(crate) epoch: i64,
}

/// The saga of which another is a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) id: String,
    /// Which step of its is answered by the end of the child.
    pub(crate) seq: u32,
    /// Whether that step is to have the child undone.
    pub(crate) reverting: bool,
}

/// Writes a new saga down; false when there is one with its id.
pub(crate) async fn insert(tx: &mut Transaction, record: &Record) -> Result<bool> {
    let inserted = tx
        .execute(
            "INSERT INTO outrigger_sagas
             (id, saga, input, state, correlation_id, traceparent, started, updated, parent, answer_seq, deadline)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
            params![
                record.id.as_str(),
                record.saga.as_str(),
                record.input.as_str(),
                State::Running.as_str(),
                record.correlation_id.as_str(),
                record.traceparent.as_deref(),
                env::now(),
                record.parent.as_ref().map(|parent| parent.id.as_str()),
                record.parent.as_ref().map(|parent| parent.seq),
                record.deadline
            ],
        )
        .await?;
    Ok(inserted == 1)
}

/// A saga that was taken: as it was before, and what it did.
pub(crate) struct Taken {
    pub(crate) record: Record,
    pub(crate) state: State,
    pub(crate) journal: Vec<Entry>,
}

/// Between two entries: a control character, which JSON escapes, so none has it.
const SEPARATOR: &str = "\u{1e}";

/// Takes a saga to step it: whoever else would has to wait for this transaction. Nothing is written yet: what
/// [`update`] writes is fenced by the epoch that is read here.
pub(crate) async fn take(tx: &mut Transaction, id: &str) -> Result<Option<Taken>> {
    local::refuse_reentry(id)?;
    // One statement, for each is a way to the server and back.
    macro_rules! take {
        ($lock:literal) => {
            concat!(
                "SELECT id, saga, input, state, correlation_id, traceparent, parent, answer_seq, reverting, deadline, epoch,
                     (SELECT string_agg(entry, $2 ORDER BY position) FROM outrigger_saga_journal WHERE saga_id = $1)
                     AS journal
                 FROM outrigger_sagas WHERE id = $1",
                $lock
            )
        };
    }
    let take = match tx.engine() {
        // There is one writer.
        Engine::Sqlite => take!(""),
        // Refused where somebody has changed it since this transaction began.
        _ => take!(" FOR NO KEY UPDATE"),
    };
    let taken = tx.query_one(take, params![id, SEPARATOR]).await?;
    let Some(row) = taken else { return Ok(None) };
    let record = Record {
        id: row.get("id")?,
        saga: row.get("saga")?,
        input: row.get("input")?,
        correlation_id: row.get("correlation_id")?,
        traceparent: row.get("traceparent")?,
        parent: parent(&row)?,
        deadline: row.get("deadline")?,
        epoch: row.get("epoch")?,
    };
    let journal: Option<String> = row.get("journal")?;
    let lines = journal.iter().flat_map(|journal| journal.split(SEPARATOR));
    Ok(Some(Taken {
        record,
        state: state(&row)?,
        journal: lines.map(|line| Entry::read(line.to_owned())).collect(),
    }))
}

fn parent(row: &Row) -> Result<Option<Parent>> {
    let Some(id) = row.get::<Option<String>>("parent")? else {
        return Ok(None);
    };
    let seq: Option<u32> = row.get("answer_seq")?;
    let reverting = row.get::<i64>("reverting")? == 1;
    Ok(seq.map(|seq| Parent { id, seq, reverting }))
}

/// How far a saga is, as the transaction sees it; `None` where there is none.
pub(crate) async fn known(tx: &mut Transaction, id: &str) -> Result<Option<State>> {
    let find = "SELECT state FROM outrigger_sagas WHERE id = $1";
    let row = tx.query_one(find, params![id]).await?;
    row.as_ref().map(state).transpose()
}

/// Has the end of a child answer another step of its parent: the one that has it undone.
pub(crate) async fn revert(tx: &mut Transaction, id: &str, seq: u32) -> Result<()> {
    let revert = "UPDATE outrigger_sagas SET reverting = 1, answer_seq = $2 WHERE id = $1";
    tx.execute(revert, params![id, seq]).await?;
    Ok(())
}

const JOURNAL: &str = "SELECT position, entry, written FROM outrigger_saga_journal WHERE saga_id = $1 ORDER BY position";

pub(crate) async fn journal(tx: &mut Transaction, id: &str) -> Result<Vec<Entry>> {
    entries(&tx.query(JOURNAL, params![id]).await?)
}

/// The journal as it is committed, to look at, with the time at which each line was written.
pub(crate) async fn timeline(db: &Database, id: &str) -> Result<Vec<(Timestamp, Entry)>> {
    let rows = db.query(JOURNAL, params![id]).await?;
    let entries = entries(&rows)?;
    let times: Result<Vec<Timestamp>, data::Error> =
        rows.iter().map(|row| row.get("written")).collect();
    Ok(times?.into_iter().zip(entries).collect())
}

fn entries(rows: &[Row]) -> Result<Vec<Entry>> {
    let entry = |row: &Row| Ok(Entry::read(row.get("entry")?));
    rows.iter().map(entry).collect()
}

/// So many entries are written by one statement: more than most steps have, and few enough for their texts to be kept
/// prepared.
const ROWS: usize = 16;

/// Adds to a journal that has `length` entries.
pub(crate) fn append(
    tx: &mut Transaction,
    id: &str,
    length: usize,
    entries: &[Entry],
) -> Result<()> {
    for (batch, entries) in entries.chunks(ROWS).enumerate() {
        let mut values = params![id, env::now()].to_vec();
        for (position, entry) in (length + batch * ROWS..).zip(entries) {
            let json = serde_json::to_string(entry).map_err(|source| Error::Encode {
                id: id.to_owned(),
                source,
            })?;
            // A journal is bounded by the number of steps: its length fits.
            let position = i64::try_from(position).unwrap_or(i64::MAX);
            values.extend([position.into(), json.into()]);
        }
        tx.execute_later(insertion(entries.len()), values);
    }
    Ok(())
}

fn insertion(rows: usize) -> String {
    let row = |row: usize| format!("($1, ${}, ${}, $2)", 2 * row + 3, 2 * row + 4);
    let rows: Vec<_> = (0..rows).map(row).collect();
    let columns = "saga_id, position, entry, written";
    format!(
        "INSERT INTO outrigger_saga_journal ({columns}) VALUES {}",
        rows.join(", ")
    )
}

/// Writes down how far a saga is, unless somebody has changed it since it was taken.
pub(crate) async fn update(
    tx: &mut Transaction,
    Record {
        id,
        deadline,
        epoch,
        ..
    }: &Record,
    progress: &Progress,
) -> Result<()> {
    let (failure, parked) = match progress {
        Progress::Running | Progress::Completed => (None, None),
        Progress::Compensating(failure) => (failure.as_ref(), None),
        Progress::Compensated(failure) => (Some(failure), None),
        // PostgreSQL keeps no NUL, and a panic's message may have one.
        Progress::Parked(reason) => (None, Some(reason.replace('\0', "\u{fffd}"))),
    };
    let failure = failure
        .map(serde_json::to_string)
        .transpose()
        .map_err(|source| Error::Encode {
            id: id.clone(),
            source,
        })?;
    let written = tx
        .execute(
            "UPDATE outrigger_sagas SET state = $3, failure = $4, parked = $5, deadline = $6, updated = $7, epoch = epoch + 1
             WHERE id = $1 AND epoch = $2",
            params![
                id.as_str(),
                *epoch,
                State::of(progress).as_str(),
                failure,
                parked,
                *deadline,
                env::now()
            ],
        )
        .await?;
    match written {
        1 => Ok(()),
        _ => Err(Error::Overtaken { id: id.clone() }),
    }
}

const STATUS: &str = "SELECT id, saga, state, failure, parked, correlation_id, started, updated FROM outrigger_sagas";

pub(crate) async fn status(db: &Database, id: &str) -> Result<Option<Status>> {
    let row = db
        .query_one(&format!("{STATUS} WHERE id = $1"), params![id])
        .await?;
    row.as_ref().map(read).transpose()
}

/// What a saga was started with, for people: as text where it is no JSON.
pub(crate) async fn input(db: &Database, id: &str) -> Result<Option<serde_json::Value>> {
    let find = "SELECT input FROM outrigger_sagas WHERE id = $1";
    let row = db.query_one(find, params![id]).await?;
    let text: Option<String> = row.map(|row| row.get("input")).transpose()?;
    Ok(text.map(|text| serde_json::from_str(&text).unwrap_or_else(|_| text.into())))
}

/// So many sagas are asked after by one statement.
const ASKED: usize = 64;

/// Which of these sagas have ended or are parked.
pub(crate) async fn resting(db: &Database, ids: &[String]) -> Result<Vec<String>> {
    let numbers: Vec<_> = (1..=ASKED).map(|number| format!("${number}")).collect();
    let sql = format!(
        "SELECT id FROM outrigger_sagas WHERE id IN ({}) AND state NOT IN ('{}', '{}')",
        numbers.join(", "),
        State::Running,
        State::Compensating
    );
    let mut resting = Vec::new();
    for ids in ids.chunks(ASKED) {
        // Always as many, so that the statement is prepared once.
        let ids = ids.iter().map(|id| Value::from(id.as_str()));
        let mut values: Vec<Value> = ids.collect();
        values.resize(ASKED, Value::Null);
        let rows = db.query(&sql, &values).await?;
        let id = |row: &Row| row.get(0);
        resting.extend(
            rows.iter()
                .map(id)
                .collect::<Result<Vec<_>, data::Error>>()?,
        );
    }
    Ok(resting)
}

/// The sagas of a state, those first that nothing has happened to for the longest time.
pub(crate) async fn list(db: &Database, state: State, limit: u32) -> Result<Vec<Status>> {
    let sql = format!("{STATUS} WHERE state = $1 ORDER BY updated, id LIMIT $2");
    let rows = db.query(&sql, params![state.as_str(), limit]).await?;
    rows.iter().map(read).collect()
}

pub(crate) async fn unended(db: &Database) -> Result<Vec<(State, u64)>> {
    let count = "SELECT COUNT(*) FROM outrigger_sagas WHERE state = $1";
    let mut counts = Vec::new();
    for state in State::ALL.into_iter().filter(|state| !state.is_end()) {
        let row = db.query_one(count, params![state.as_str()]).await?;
        counts.push((state, row.map_or(Ok(0), |row| row.get(0))?));
    }
    Ok(counts)
}

/// Deletes up to `limit` sagas that ended before `before`, and their journals; how many.
pub(crate) async fn forget(tx: &mut Transaction, before: Timestamp, limit: u32) -> Result<usize> {
    // A child goes after its parent, which may yet have it undone. Each state for itself: an index finds its oldest.
    let find = "SELECT id FROM outrigger_sagas saga WHERE state = $1 AND updated < $2
                AND NOT EXISTS (SELECT 1 FROM outrigger_sagas parent WHERE parent.id = saga.parent)
                ORDER BY updated LIMIT $3";
    let mut ended = Vec::new();
    for state in [State::Completed, State::Compensated] {
        ended.extend(
            tx.query(find, params![state.as_str(), before, limit])
                .await?,
        );
    }
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
    let failure: Option<String> = row.get("failure")?;
    // A saga that cannot be read must not hide the others of a list.
    let failure = failure.map(|json| {
        serde_json::from_str(&json).unwrap_or_else(|_| Failure::new("unreadable", json))
    });
    Ok(Status {
        id: row.get("id")?,
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
