//! The event store on PostgreSQL, where transactions commit in any order.
//!
//! Events are ordered by the number of the transaction that appended them, then by a sequence. A reader is shown those
//! of transactions below `pg_snapshot_xmin` of its own snapshot: every transaction below it has ended, and none that
//! begins later can get a number below it. So nothing ever appears before what was read already (decision 0011).
//!
//! Transaction numbers belong to the cluster, and a dump that is restored into another one brings numbers that may be
//! ahead of it. An offset, kept beside the events, is added to each new number; opening the store raises it where the
//! stored numbers are ahead.

use data::{Database, Migration, Transaction, params};

use crate::{
    Error, Result,
    append::{Head, Row},
    archive::ARCHIVED,
};

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration::new(
        1,
        "event store",
        include_str!("../migrations/postgres_0001.sql"),
    ),
    Migration::new(
        2,
        "snapshots, archive, keys of persons",
        include_str!("../migrations/postgres_0002.sql"),
    ),
    Migration::new(
        3,
        "who writes of a person meets who forgets them",
        include_str!("../migrations/postgres_0003.sql"),
    ),
];

pub(crate) const COLUMNS: &str =
    "xact, sequence, stream, version, type, schema_version, data, metadata, recorded";

/// What comes after the position ($1, $2) and will have nothing come before it any more, at most $3.
///
/// The horizon is that of the statement's own snapshot: taken apart from it, events could commit between the two.
pub(crate) const READ_ALL: &str =
    "SELECT xact, sequence, stream, version, type, schema_version, data, metadata, recorded
     FROM (SELECT xact, sequence, stream, version, type, schema_version, data, metadata, recorded
           FROM outrigger_events
           UNION ALL
           SELECT xact, sequence, stream, version, type, schema_version, data, metadata, recorded
           FROM outrigger_events_archive) AS everything
     WHERE (xact, sequence) > ($1, $2)
       AND xact < (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + xacts
                   FROM outrigger_event_offset)
     ORDER BY xact, sequence LIMIT $3";

/// What has committed and is not shown yet: how many events, and since when the oldest.
pub(crate) const HELD_BACK: &str = "SELECT count(*), min(recorded) FROM outrigger_events
     WHERE xact >= (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + xacts
                    FROM outrigger_event_offset)";

/// The last event of each of `streams`, where there is one.
pub(crate) async fn heads(tx: &mut Transaction, streams: &[&str]) -> Result<Vec<Head>> {
    let last =
        "SELECT e.stream, e.version, e.type FROM json_array_elements_text($1::text::json) AS s (stream)
                CROSS JOIN LATERAL (
                    SELECT stream, version, type FROM outrigger_events
                    WHERE outrigger_events.stream = s.stream ORDER BY version DESC LIMIT 1
                ) AS e";
    let streams = serde_json::Value::from(streams).to_string();
    let rows = tx.query(last, params![streams]).await?;
    rows.iter().map(Head::from_row).collect()
}

/// Writes `rows` in one statement, which is one round trip; those that are [unseen](Row::unseen) only where their stream
/// ends right before them. How many were written.
pub(crate) async fn insert(tx: &mut Transaction, rows: &[Row]) -> Result<u64> {
    // The looks are no `EXISTS`, which may be planned as a hash of the whole table.
    let insert = "INSERT INTO outrigger_events
                  (xact, stream, version, type, schema_version, data, metadata, recorded)
                  SELECT pg_current_xact_id()::text::bigint + xacts,
                         stream, version, name, schema, data, metadata, $2::bigint
                  FROM ROWS FROM (
                           json_to_recordset($1::text::json)
                           AS (stream text, version bigint, name text, schema bigint, data text, metadata text,
                               unseen boolean)
                       ) WITH ORDINALITY
                           AS row (stream, version, name, schema, data, metadata, unseen, place),
                       outrigger_event_offset
                  WHERE CASE
                      WHEN NOT unseen THEN true
                      WHEN row.version = 1 THEN
                          (SELECT 1 FROM outrigger_events AS e WHERE e.stream = row.stream LIMIT 1) IS NULL
                      ELSE
                          (SELECT e.type <> $3::text FROM outrigger_events AS e
                           WHERE e.stream = row.stream AND e.version = row.version - 1)
                  END
                  ORDER BY place
                  ON CONFLICT DO NOTHING";
    let rows = serde_json::to_string(rows).map_err(|source| Error::Encode {
        stream: rows
            .first()
            .map_or_else(String::new, |row| row.stream.clone()),
        source,
    })?;
    let params = params![rows, env::now(), ARCHIVED];
    Ok(tx.execute(insert, params).await?)
}

/// Lets the order go on after the greatest number that is stored.
pub(crate) async fn continue_order(db: &Database) -> Result<()> {
    let raise = "UPDATE outrigger_event_offset
                 SET xacts = stored.last + 1 - pg_current_xact_id()::text::bigint
                 FROM (SELECT max(xact) AS last FROM outrigger_events) AS stored
                 WHERE stored.last >= pg_current_xact_id()::text::bigint + xacts";
    let raised = db
        .transaction(async |mut tx| tx.execute(raise, params![]).await)
        .await?;
    if raised > 0 {
        tracing::info!("the events come from another cluster: their order goes on in this one");
    }
    Ok(())
}
