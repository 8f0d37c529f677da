//! The numbers of events, by which those who receive them see that none is missing.
//!
//! Every event that a service publishes has the CloudEvents extension `sequence`: 1, 2, 3 and so on among the events of
//! its source, key and type. The leading [relay](crate::relay) gives the numbers, in the transaction in which it claims
//! the events (docs/decisions/0016). A consumer remembers, in the transaction of the inbox, the last one of each for
//! its group. One that is more than one higher means that the bus has lost something: it is a [`Gap`], in the log and
//! in the database, until what is missing has come. The event itself is handled all the same.
//!
//! No alarm is false, rather is one not given: what is not known may begin anywhere; what comes again or late is no
//! gap; and 1 in an event that is newer than all before it is a new beginning (the producer has forgotten the key, or
//! has a new database). So both sides may [forget] when they like.
//!
//! An event that has a `sequence` when it is published keeps it: it is forwarded. One with a foreign `source` gets none,
//! for two services may publish in its name; nor does one without a key.

mod receiver;
mod sender;

use data::{Database, params};
use env::Timestamp;

pub(crate) use self::receiver::{Received, note};
pub(crate) use self::sender::assign;
use crate::{CloudEvent, Result, pattern};

/// The name of the extension.
pub const EXTENSION: &str = "sequence";

/// Numbers that never came.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Gap {
    /// The group that misses them.
    pub group: String,
    /// Where the events come from.
    pub source: String,
    /// Their key.
    pub key: String,
    /// Their type.
    pub kind: String,
    /// The first that is missing.
    pub first: i64,
    /// The last that is missing.
    pub last: i64,
    /// When it was noticed.
    pub found_at: Timestamp,
}

impl Gap {
    /// Says in the log that something is missing.
    pub(crate) fn report(&self) {
        let Self {
            group,
            source,
            key,
            kind,
            first,
            last,
            ..
        } = self;
        tracing::error!(
            group,
            source,
            key,
            kind,
            first,
            last,
            "events are missing: the bus has lost them; `outbox replay` of their source sends them again"
        );
    }
}

/// The number of an event, where it has one.
pub(crate) fn number_of(event: &CloudEvent) -> Option<i64> {
    let number = event.extensions.get(EXTENSION)?.as_str()?.parse().ok()?;
    (number > 0).then_some(number)
}

/// Gives an event its number.
pub(crate) fn put(event: &mut CloudEvent, number: i64) {
    event
        .extensions
        .insert(EXTENSION.to_owned(), number.to_string().into());
}

/// The oldest gaps that the groups of a service know of.
///
/// # Errors
/// [`Error::Database`](crate::Error::Database).
pub async fn gaps(db: &Database, limit: u32) -> Result<Vec<Gap>> {
    let find = "SELECT consumer_group, source, key, type, first, last, found_at FROM outrigger_gaps
                ORDER BY found_at, consumer_group, source, key, type, first LIMIT $1";
    let rows = db.query(find, params![limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(Gap {
                group: row.get(0)?,
                source: row.get(1)?,
                key: row.get(2)?,
                kind: row.get(3)?,
                first: row.get(4)?,
                last: row.get(5)?,
                found_at: row.get(6)?,
            })
        })
        .collect()
}

/// How many events the groups of a service miss.
///
/// # Errors
/// [`Error::Database`](crate::Error::Database).
pub async fn missing(db: &Database) -> Result<u64> {
    let sum = "SELECT CAST(COALESCE(SUM(last - first + 1), 0) AS BIGINT) FROM outrigger_gaps";
    let row = db.query_one(sum, params![]).await?;
    Ok(row.map_or(Ok(0), |row| row.get(0))?)
}

/// Forgets what `group` has received of types, which it wants no more: should it want them again, they begin anywhere.
pub(crate) async fn forget_types(db: &Database, group: &str, types: &[String]) -> Result<()> {
    let (condition, more) = pattern::condition(types.iter().map(String::as_str), 2);
    let mut values = params![group].to_vec();
    values.extend(more);
    for table in ["outrigger_received", "outrigger_gaps"] {
        let forget = format!("DELETE FROM {table} WHERE consumer_group = $1 AND ({condition})");
        let forgetting = db.transaction(async |mut tx| tx.execute(&forget, &values).await);
        forgetting.await?;
    }
    Ok(())
}

/// Forgets keys that were not used since `before`, and gaps that were found before it; how many rows.
///
/// # Errors
/// [`Error::Database`](crate::Error::Database); what was forgotten until then stays so.
pub async fn forget(db: &Database, before: Timestamp) -> Result<u64> {
    let mut forgotten = 0;
    for (table, key, time) in [
        ("outrigger_sequences", "source, key, type", "used_at"),
        (
            "outrigger_received",
            "consumer_group, source, key, type",
            "seen_at",
        ),
        (
            "outrigger_gaps",
            "consumer_group, source, key, type, first",
            "found_at",
        ),
    ] {
        let delete = format!(
            "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {time} < $1 LIMIT $2)"
        );
        forgotten += db.in_batches(&delete, params![before]).await?;
    }
    Ok(forgotten)
}
