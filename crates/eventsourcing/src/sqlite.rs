//! The event store on SQLite: there is one writer, so the sequence in which events were appended is their order, and a
//! rollback gives its numbers back.

use data::{Migration, Transaction, params};

use crate::{
    Result,
    append::{Heads, Row, head},
    archive::ARCHIVED,
};

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration::new(
        1,
        "event store",
        include_str!("../migrations/sqlite_0001.sql"),
    ),
    Migration::new(
        2,
        "the rowid is the order, schema versions, versions of projections",
        include_str!("../migrations/sqlite_0002.sql"),
    ),
    Migration::new(
        3,
        "snapshots, archive, keys of persons",
        include_str!("../migrations/sqlite_0003.sql"),
    ),
    Migration::new(
        4,
        "who writes of a person meets who forgets them",
        include_str!("../migrations/sqlite_0004.sql"),
    ),
];

pub(crate) const COLUMNS: &str =
    "0 AS xact, sequence, stream, version, type, schema_version, data, metadata, recorded";

/// What comes after the position $1, at most $2.
pub(crate) const READ_ALL: &str =
    "SELECT 0 AS xact, sequence, stream, version, type, schema_version, data, metadata, recorded
     FROM outrigger_events WHERE sequence > $1
     UNION ALL
     SELECT 0 AS xact, sequence, stream, version, type, schema_version, data, metadata, recorded
     FROM outrigger_events_archive WHERE sequence > $1
     ORDER BY sequence LIMIT $2";

/// The ends of `streams`, but of those that have no events.
pub(crate) async fn heads(tx: &mut Transaction, streams: &[&str]) -> Result<Heads> {
    let last = "SELECT stream, version, type FROM outrigger_events WHERE stream = $1
                ORDER BY version DESC LIMIT 1";
    let mut heads = Heads::new();
    for &stream in streams {
        if let Some(row) = tx.query_one(last, params![stream]).await? {
            heads.extend([head(&row)?]);
        }
    }
    Ok(heads)
}

/// Writes `rows`, one by one: a statement costs no round trip here. Those that are [unseen](Row::unseen) are written only
/// where their stream ends right before them. How many were written.
pub(crate) async fn insert(tx: &mut Transaction, rows: Vec<Row>) -> Result<u64> {
    const SEEN: &str = "INSERT INTO outrigger_events
         (stream, version, type, schema_version, data, metadata, recorded)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    const UNSEEN: &str = "INSERT INTO outrigger_events
         (stream, version, type, schema_version, data, metadata, recorded)
         SELECT $1, $2, $3, $4, $5, $6, $7
         WHERE CASE $2
             WHEN 1 THEN (SELECT 1 FROM outrigger_events WHERE stream = $1 LIMIT 1) IS NULL
             ELSE (SELECT type <> $8 FROM outrigger_events WHERE stream = $1 AND version = $2 - 1)
         END
         ON CONFLICT DO NOTHING";
    let now = env::now();
    let mut written = 0;
    for row in rows {
        let (values, unseen) = row.values();
        let mut params = Vec::from(values);
        params.push(now.into());
        if unseen {
            params.push(ARCHIVED.into());
        }
        let insert = if unseen { UNSEEN } else { SEEN };
        written += tx.execute(insert, &params).await?;
    }
    Ok(written)
}
