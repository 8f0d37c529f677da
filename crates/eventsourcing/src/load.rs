//! Replaying a stream.

use data::{Database, Engine, Row, Transaction, Value, params};

use crate::{
    Aggregate, Error, Loaded, Recorded, Result, Version, aggregate::stream, archive::ARCHIVED,
    personal, postgres, snapshot, sqlite, store::int,
};

/// How many events are read at a time where all are needed: enough to be fast, few enough to stay small.
const PAGE: u32 = 500;

/// Where rows come from: what is committed, or what a transaction sees.
pub(crate) trait Source {
    fn engine(&self) -> Engine;

    async fn rows(&mut self, sql: &str, params: &[Value]) -> data::Result<Vec<Row>>;
}

impl Source for Transaction {
    fn engine(&self) -> Engine {
        self.engine()
    }

    async fn rows(&mut self, sql: &str, params: &[Value]) -> data::Result<Vec<Row>> {
        self.query(sql, params).await
    }
}

impl Source for &Database {
    fn engine(&self) -> Engine {
        Database::engine(self)
    }

    async fn rows(&mut self, sql: &str, params: &[Value]) -> data::Result<Vec<Row>> {
        self.query(sql, params).await
    }
}

/// The events of streams that are in use.
pub(crate) const HOT: &str = "outrigger_events";
/// The events of streams that were archived.
pub(crate) const ARCHIVE: &str = "outrigger_events_archive";

/// Reads an aggregate; and how many events that took, beside a snapshot.
pub(crate) async fn load<A: Aggregate>(
    source: &mut impl Source,
    id: &str,
) -> Result<(Loaded<A>, Version)> {
    let stream = stream::<A>(id);
    let mut loaded = snapshot::read::<A>(source, id).await?.unwrap_or_default();
    let mut replayed = 0;
    loop {
        let events = page(source, HOT, &stream, loaded.version + 1, PAGE).await?;
        for event in &events {
            if event.name == ARCHIVED {
                return Err(Error::Archived { stream });
            }
            loaded.version += 1;
            replayed += 1;
            if event.version != loaded.version {
                return Err(Error::Gap {
                    stream,
                    expected: loaded.version,
                    found: event.version,
                });
            }
            loaded.state.apply(&event.decode(A::UPCASTERS)?);
        }
        if events.len() < PAGE as usize {
            return Ok((loaded, replayed));
        }
    }
}

pub(crate) async fn page(
    source: &mut impl Source,
    table: &str,
    stream: &str,
    from: Version,
    limit: u32,
) -> Result<Vec<Recorded>> {
    let columns = match source.engine() {
        Engine::Sqlite => sqlite::COLUMNS,
        _ => postgres::COLUMNS,
    };
    let sql = format!(
        "SELECT {columns} FROM {table} WHERE stream = $1 AND version >= $2
         ORDER BY version LIMIT $3"
    );
    let rows = source.rows(&sql, params![stream, int(from), limit]).await?;
    recorded(source, &rows).await
}

/// The events of `rows`, with what is personal in them.
pub(crate) async fn recorded(source: &mut impl Source, rows: &[Row]) -> Result<Vec<Recorded>> {
    let events = rows.iter().map(Recorded::from_row);
    let mut events = events.collect::<Result<Vec<_>>>()?;
    personal::open(source, &mut events).await?;
    Ok(events)
}
