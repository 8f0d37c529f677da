//! Appending to streams, and reading them.

use std::{fmt, future::Future};

use data::{Database, Row, Transaction, Value, params};

use crate::{
    Aggregate, Error, Loaded, Metadata, Recorded, Result, aggregate::stream, recorded::encode,
};

/// How many events a stream has, and so the place of the last of them: 0 where there is none.
pub type Version = u64;

/// The channel that a transaction wakes which has appended.
pub(crate) const CHANNEL: &str = "outrigger_events";
/// How many events are read at a time where all are needed.
const PAGE: u32 = 500;

/// What whoever appends has seen of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It has no events yet. The same as `Version(0)`.
    NoStream,
    /// It has this version.
    Version(Version),
    /// It does not matter.
    Any,
}

impl Expected {
    fn fits(self, actual: Version) -> bool {
        match self {
            Self::NoStream => actual == 0,
            Self::Version(version) => actual == version,
            Self::Any => true,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStream => f.write_str("a new stream"),
            Self::Version(version) => write!(f, "{version}"),
            Self::Any => f.write_str("any version"),
        }
    }
}

/// Event sourcing in a [`Transaction`].
pub trait Append {
    /// Appends to the stream of the `A` with this id, when the transaction commits; the version that it has then.
    ///
    /// # Errors
    /// [`Error::VersionConflict`], after which the transaction may go on; [`Error::Untagged`], [`Error::Encode`],
    /// [`Error::Database`].
    fn append<A: Aggregate>(
        &mut self,
        id: &str,
        expected: Expected,
        events: &[A::Event],
    ) -> impl Future<Output = Result<Version>> + Send;

    /// Reads the `A` with this id, what this transaction has appended included.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::Database`].
    fn load<A: Aggregate>(&mut self, id: &str) -> impl Future<Output = Result<Loaded<A>>> + Send;
}

impl Append for Transaction {
    async fn append<A: Aggregate>(
        &mut self,
        id: &str,
        expected: Expected,
        events: &[A::Event],
    ) -> Result<Version> {
        let stream = stream::<A>(id);
        let encoded = events.iter().map(|event| encode(&stream, event));
        let encoded = encoded.collect::<Result<Vec<_>>>()?;
        let head = advance_head(self, int(encoded.len() as u64)).await?;
        let actual = version(self, &stream).await?;
        if !expected.fits(actual) {
            advance_head(self, -int(encoded.len() as u64)).await?;
            return Err(Error::VersionConflict {
                stream,
                expected,
                actual,
            });
        }
        let metadata = serde_json::to_string(&Metadata::current());
        let metadata = metadata.map_err(|source| Error::Encode {
            stream: stream.clone(),
            source,
        })?;
        let first = head - encoded.len() as u64 + 1;
        let mut last = actual;
        for (position, (name, data)) in (first..).zip(encoded) {
            last += 1;
            self.execute(
                "INSERT INTO outrigger_events
                 (position, stream, version, type, data, metadata, recorded)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
                params![
                    int(position),
                    stream.as_str(),
                    int(last),
                    name,
                    data,
                    metadata.as_str(),
                    env::now()
                ],
            )
            .await?;
        }
        self.notify(CHANNEL);
        Ok(last)
    }

    async fn load<A: Aggregate>(&mut self, id: &str) -> Result<Loaded<A>> {
        load(self, id).await
    }
}

/// Takes the next positions, and with them the right to append until the end of the transaction: whoever else would
/// waits. The last position comes back.
async fn advance_head(tx: &mut Transaction, by: i64) -> Result<u64> {
    let advance = "UPDATE outrigger_event_head SET position = position + $1 RETURNING position";
    let row = tx.query_one(advance, params![by]).await?;
    Ok(row.map_or(Ok(0), |row| row.get("position"))?)
}

async fn version(tx: &mut Transaction, stream: &str) -> Result<Version> {
    let find = "SELECT coalesce(max(version), 0) FROM outrigger_events WHERE stream = $1";
    let row = tx.query_one(find, params![stream]).await?;
    Ok(row.map_or(Ok(0), |row| row.get(0))?)
}

/// The event store of a database, for reading. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    db: Database,
}

const COLUMNS: &str = "position, stream, version, type, data, metadata, recorded";

impl Store {
    /// The store in `db`, in which it was [installed](crate::install).
    pub fn new(db: Database) -> Self {
        Self { db }
    }

    /// Reads the `A` with this id, as it is committed.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::Database`].
    pub async fn load<A: Aggregate>(&self, id: &str) -> Result<Loaded<A>> {
        load(&mut &self.db, id).await
    }

    /// The first `limit` events of the `A` with this id that have at least the version `from`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn events<A: Aggregate>(
        &self,
        id: &str,
        from: Version,
        limit: u32,
    ) -> Result<Vec<Recorded>> {
        page(&mut &self.db, &stream::<A>(id), from, limit).await
    }

    /// The first `limit` events of all streams after the position `after`; 0 is before the first.
    ///
    /// Reading on from the last position that was seen skips no event.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn read_all(&self, after: u64, limit: u32) -> Result<Vec<Recorded>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM outrigger_events WHERE position > $1 ORDER BY position LIMIT $2"
        );
        let rows = self.db.query(&sql, params![int(after), limit]).await?;
        rows.iter().map(Recorded::from_row).collect()
    }
}

/// Where rows come from: what is committed, or what a transaction sees.
trait Source {
    async fn rows(&mut self, sql: &str, params: &[Value]) -> data::Result<Vec<Row>>;
}

impl Source for Transaction {
    async fn rows(&mut self, sql: &str, params: &[Value]) -> data::Result<Vec<Row>> {
        self.query(sql, params).await
    }
}

impl Source for &Database {
    async fn rows(&mut self, sql: &str, params: &[Value]) -> data::Result<Vec<Row>> {
        self.query(sql, params).await
    }
}

async fn load<A: Aggregate>(source: &mut impl Source, id: &str) -> Result<Loaded<A>> {
    let stream = stream::<A>(id);
    let mut loaded = Loaded::<A>::default();
    loop {
        let events = page(source, &stream, loaded.version + 1, PAGE).await?;
        for event in &events {
            loaded.version += 1;
            if event.version != loaded.version {
                return Err(Error::Gap {
                    stream,
                    expected: loaded.version,
                    found: event.version,
                });
            }
            loaded.state.apply(&event.decode()?);
        }
        if events.len() < PAGE as usize {
            return Ok(loaded);
        }
    }
}

async fn page(
    source: &mut impl Source,
    stream: &str,
    from: Version,
    limit: u32,
) -> Result<Vec<Recorded>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM outrigger_events WHERE stream = $1 AND version >= $2
         ORDER BY version LIMIT $3"
    );
    let rows = source.rows(&sql, params![stream, int(from), limit]).await?;
    rows.iter().map(Recorded::from_row).collect()
}

/// As the database counts. A number that it cannot hold is beyond every event that there can be.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
