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
    Error, Result,
    append::{Heads, Row, head},
    archive::ARCHIVED,
    store::int,
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
    let last = "SELECT e.stream, e.version, e.type FROM unnest($1::text[]) AS s (stream)
                CROSS JOIN LATERAL (
                    SELECT stream, version, type FROM outrigger_events
                    WHERE outrigger_events.stream = s.stream ORDER BY version DESC LIMIT 1
                ) AS e";
    let streams: Value = streams.iter().copied().collect();
    let rows = tx.query(last, &[streams]).await?;
    rows.iter().map(head).collect()
}

/// Writes rows, in their order, with the number of this transaction; those that are [unseen](Row::unseen) only where their
/// stream ends right before them.
///
/// The number is asked for once, not for each row. The looks are no `EXISTS`, which may be planned as a hash of the whole
/// table.
const INSERT: &str = "INSERT INTO outrigger_events
     (xact, stream, version, type, schema_version, data, metadata, recorded)
     SELECT (SELECT pg_current_xact_id()::text::bigint + xacts FROM outrigger_event_offset),
            stream, version, name, schema, data, metadata, $8::bigint
     FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::boolean[])
          WITH ORDINALITY AS row (stream, version, name, schema, data, metadata, unseen, place)
     WHERE CASE
         WHEN NOT unseen THEN true
         WHEN row.version = 1 THEN
             (SELECT 1 FROM outrigger_events AS e WHERE e.stream = row.stream LIMIT 1) IS NULL
         ELSE
             (SELECT e.type <> $9::text FROM outrigger_events AS e
              WHERE e.stream = row.stream AND e.version = row.version - 1)
     END
     ORDER BY place";

/// Writes `rows` in one statement, which is one round trip. How many were written.
///
/// Where some are unseen, whoever appends is ready to hear that a version is taken. Then the server need not look for
/// conflicts before it writes, which is much quicker: it finds them when it does.
pub(crate) async fn insert(tx: &mut Transaction, rows: Vec<Row>) -> Result<u64> {
    if !rows.iter().any(|row| row.unseen) {
        let insert = format!("{INSERT} ON CONFLICT DO NOTHING");
        return Ok(tx.execute(&insert, &columns(rows)).await?);
    }
    match tx.execute(INSERT, &columns(rows)).await {
        Err(error) if error.is_unique_violation() => Err(Error::Overtaken),
        outcome => Ok(outcome?),
    }
}

/// The parameters of [`INSERT`].
fn columns(rows: Vec<Row>) -> [Value; 9] {
    let mut columns = [const { Vec::new() }; 7];
    for row in rows {
        let values = [
            row.stream.into(),
            int(row.version).into(),
            row.name.into(),
            row.schema.into(),
            row.data.into(),
            (*row.metadata).into(),
            row.unseen.into(),
        ];
        for (column, value) in columns.iter_mut().zip(values) {
            column.push(value);
        }
    }
    let [stream, version, name, schema, data, metadata, unseen] = columns.map(Value::Array);
    let (recorded, archived) = (env::now().into(), ARCHIVED.into());
    [
        stream, version, name, schema, data, metadata, unseen, recorded, archived,
    ]
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
