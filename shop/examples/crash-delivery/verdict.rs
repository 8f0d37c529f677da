//! What is left, read back.

use std::{collections::BTreeMap, fs, time::Duration};

use outrigger::{
    data::{Database, params},
    env::{self, BoxError},
    events::DeadLetters,
};
use serde::Serialize;

use crate::place::Place;

/// The figures of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    /// Events whose transaction committed.
    published: i64,
    /// Of those, the ones that the publisher was told of; no more than `published` by what a crash cut short.
    acknowledged: u64,
    /// Attempts to handle an event.
    delivered: usize,
    /// Handlers that took effect.
    effects: i64,
    /// Events that came again and changed nothing.
    duplicates_suppressed: usize,
    /// Attempts that failed and were made again.
    retried: usize,
    /// Events that waited for an earlier one of their key, or were delivered suspiciously often.
    held: usize,
    /// Attempts after which an event was a dead letter.
    dead_lettered: usize,
    /// Acknowledged, and not there.
    forgotten: u64,
    /// Published, and without effect.
    lost: i64,
    /// Effects beyond the first of an event.
    repeated: i64,
    /// Events that came before an earlier one of their key.
    out_of_order: i64,
    /// Events that still wait in the consumer's database, as dead letters or for another attempt.
    unsettled: u64,
}

impl Verdict {
    /// Whether every guarantee held.
    pub(crate) fn is_whole(&self) -> bool {
        self.forgotten == 0
            && self.lost == 0
            && self.repeated == 0
            && self.out_of_order == 0
            && self.unsettled == 0
    }
}

/// Waits until everything has arrived, or nothing more does for `patience`.
pub(crate) async fn until_arrived(place: &Place, patience: Duration) -> Result<(), BoxError> {
    let (publisher, consumer) = look(place).await?;
    let (mut moved, mut shown, mut before) = (env::instant(), env::instant(), 0);
    loop {
        let (published, noted) = (counts(&publisher).await?, progress(&consumer).await?);
        let (all, there): (i64, i64) = (published.values().sum(), noted.values().sum());
        let now = env::instant();
        if there > before {
            (before, moved) = (there, now);
        }
        if there >= all || now - moved >= patience {
            return Ok(());
        }
        if now - shown >= Duration::from_secs(5) {
            shown = now;
            eprintln!("{there} of {all} events have arrived");
        }
        env::sleep(Duration::from_millis(100)).await;
    }
}

async fn look(place: &Place) -> Result<(Database, Database), BoxError> {
    let publisher = Database::inspect(&place.role.publisher).await?;
    let consumer = Database::inspect(&place.role.consumer).await?;
    Ok((publisher, consumer))
}

/// Reads everything back.
pub(crate) async fn judge(place: &Place) -> Result<Verdict, BoxError> {
    let (publisher, consumer) = &look(place).await?;
    let (published, noted) = (counts(publisher).await?, progress(consumer).await?);
    let marks = fs::read_to_string(place.role.ledgers.join("delivered"))?;
    let ledger = fs::read_to_string(place.role.ledgers.join("acknowledged"))?;
    let acknowledged = ledger.lines().filter_map(|line| {
        let (key, count) = line.split_once(' ')?;
        Some((key, count.parse::<i64>().ok()?))
    });
    let acknowledged: Vec<_> = acknowledged.collect();
    let forgotten = acknowledged
        .iter()
        .filter(|(key, count)| published.get(*key).is_none_or(|there| there < count));
    let lag: i64 = published
        .iter()
        .map(|(key, count)| (count - noted.get(key).copied().unwrap_or(0)).max(0))
        .sum();
    let early = "SELECT CAST(coalesce(sum(count - last - 1), 0) AS BIGINT), count(*) FROM anomalies WHERE count > last + 1";
    let (skipped, out_of_order) = pair(consumer, early).await?;
    let late = "SELECT 0, count(*) FROM anomalies WHERE count <= last";
    let (_, again) = pair(consumer, late).await?;
    let (_, effects) = pair(
        consumer,
        "SELECT 0, CAST(coalesce(sum(effects), 0) AS BIGINT) FROM progress",
    )
    .await?;
    let backlog = DeadLetters::of(consumer).backlog().await?;
    let marked = |wanted: u8| marks.bytes().filter(|mark| *mark == wanted).count();
    Ok(Verdict {
        published: published.values().sum(),
        acknowledged: acknowledged.len() as u64,
        delivered: marks.len(),
        effects,
        duplicates_suppressed: marked(b'd'),
        retried: marked(b'r'),
        held: marked(b'w'),
        dead_lettered: marked(b'x'),
        forgotten: forgotten.count() as u64,
        // What was skipped and came late counts as out of order, and not as lost.
        lost: (lag + skipped - again).max(0),
        repeated: (again - skipped).max(0),
        out_of_order,
        unsettled: backlog.dead + backlog.deferred,
    })
}

async fn counts(db: &Database) -> Result<BTreeMap<String, i64>, BoxError> {
    by_key(db, "SELECT key, count FROM counts").await
}

async fn progress(db: &Database) -> Result<BTreeMap<String, i64>, BoxError> {
    by_key(db, "SELECT key, last FROM progress").await
}

async fn by_key(db: &Database, sql: &str) -> Result<BTreeMap<String, i64>, BoxError> {
    let rows = db.query(sql, params![]).await?;
    let pairs = rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?)));
    pairs.collect()
}

/// A sum on PostgreSQL is a `numeric`, so both are asked for as integers.
async fn pair(db: &Database, sql: &str) -> Result<(i64, i64), BoxError> {
    let row = db
        .query_one(sql, params![])
        .await?
        .ok_or("an aggregate has a row")?;
    Ok((row.get(0)?, row.get(1)?))
}
