//! The event store on PostgreSQL, where transactions commit in any order.
//!
//! Events are ordered by the number of the transaction that appended them, then by a sequence. A reader is shown those
//! of transactions below `pg_snapshot_xmin` of its own snapshot: every transaction below it has ended, and none that
//! begins later can get a number below it. So nothing ever appears before what was read already (decision 0011).
//!
//! Transaction numbers belong to the cluster, and a dump that is restored into another one brings numbers that may be
//! ahead of it. An offset, kept beside the events, is added to each new number; opening the store raises it where the
//! stored numbers are ahead.

use data::{Database, Migration, Transaction, Value, params};

use crate::{
    Result,
    append::{Heads, Row, head},
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

/// The ends of `streams`, but of those that have no events.
pub(crate) async fn heads(tx: &mut Transaction, streams: &[&str]) -> Result<Heads> {
    let last = "SELECT e.stream, e.version, e.type FROM unnest((SELECT $1::text[])) AS s (stream)
                CROSS JOIN LATERAL (
                    SELECT stream, version, type FROM outrigger_events
                    WHERE outrigger_events.stream = s.stream ORDER BY version DESC LIMIT 1
                ) AS e";
    let streams: Value = streams.iter().copied().collect();
    let rows = tx.query(last, &[streams]).await?;
    rows.iter().map(head).collect()
}

/// Writes `rows` in one statement, but those whose version is taken; how many were written.
///
/// The number of the transaction is asked for once, not for each row.
pub(crate) async fn insert(tx: &mut Transaction, rows: Vec<Row>) -> Result<u64> {
    const INSERT: &str = "INSERT INTO outrigger_events
         (xact, stream, version, type, schema_version, data, metadata, recorded)
         SELECT (SELECT pg_current_xact_id()::text::bigint + xacts FROM outrigger_event_offset),
                stream, version, name, schema, data, metadata, $7::bigint
         FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[])
              WITH ORDINALITY AS row (stream, version, name, schema, data, metadata, place)
         ORDER BY place
         ON CONFLICT DO NOTHING";
    let (params, _) = columns(rows);
    Ok(tx.execute(INSERT, &params).await?)
}

/// Writes `rows` when `tx` commits, in one round trip with it. Where a version is taken, or a stream does not end right before
/// one of them that is [unseen](Row::unseen), the commit fails with a violation.
///
/// So the server need not look for conflicts before it writes, which is much quicker: it finds them when it does. A
/// version that does not fit becomes `NULL`, which is refused. The looks are no `EXISTS`, which may be planned as a hash of the
/// whole table.
pub(crate) fn insert_at_commit(tx: &mut Transaction, rows: Vec<Row>) {
    const INSERT: &str = "INSERT INTO outrigger_events
         (xact, stream, version, type, schema_version, data, metadata, recorded)
         SELECT (SELECT pg_current_xact_id()::text::bigint + xacts FROM outrigger_event_offset),
                stream,
                CASE WHEN CASE
                    WHEN NOT unseen THEN true
                    WHEN version = 1 THEN
                        (SELECT 1 FROM outrigger_events AS e WHERE e.stream = row.stream LIMIT 1) IS NULL
                    ELSE
                        (SELECT e.type <> $9::text FROM outrigger_events AS e
                         WHERE e.stream = row.stream AND e.version = row.version - 1)
                END THEN version END,
                name, schema, data, metadata, $7::bigint
         FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $8::boolean[])
              WITH ORDINALITY AS row (stream, version, name, schema, data, metadata, unseen, place)
         ORDER BY place";
    let (params, unseen) = columns(rows);
    let params = params.into_iter().chain([unseen, ARCHIVED.into()]);
    tx.execute_later(INSERT, params.collect::<Vec<_>>());
}

/// The parameters of both: what goes into the row, and apart from it whether it is unseen.
fn columns(rows: Vec<Row>) -> ([Value; 7], Value) {
    let rows = rows.into_iter().map(|row| {
        let ([stream, version, name, schema, data, metadata], unseen) = row.values();
        [stream, version, name, schema, data, metadata, unseen.into()]
    });
    let [stream, version, name, schema, data, metadata, unseen] = Value::columns(rows);
    let recorded = env::now().into();
    let row = [stream, version, name, schema, data, metadata, recorded];
    (row, unseen)
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
