//! What is counted, on both sides.

use outrigger::{
    data::{self, Database, Migration, Transaction, params},
    env::BoxError,
    events::{Event, JsonSchema, schemars},
};
use serde::{Deserialize, Serialize};

/// Enough keys for order and parallelism both to matter.
pub(crate) const KEYS: u64 = 16;

/// A count has gone up.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Event)]
#[event("crash.counted", version = 1, key = key)]
pub(crate) struct Counted {
    /// What was counted.
    pub(crate) key: String,
    /// How far.
    pub(crate) count: i64,
}

/// The name of a key.
pub(crate) fn key(number: u64) -> String {
    format!("key-{number:02}")
}

/// Where the publisher has got to.
pub(crate) async fn prepare_publisher(db: &Database) -> data::Result<()> {
    db.migrate(&[Migration::new(
        1,
        "counts",
        "CREATE TABLE counts (key TEXT PRIMARY KEY, count BIGINT NOT NULL)",
    )])
    .await?;
    let mut tx = db.begin().await?;
    for number in 0..KEYS {
        let insert = "INSERT INTO counts (key, count) VALUES ($1, 0) ON CONFLICT DO NOTHING";
        tx.execute(insert, params![key(number)]).await?;
    }
    tx.commit().await
}

/// Where the consumer has got to, and what it should never have seen.
pub(crate) async fn prepare_consumer(db: &Database) -> data::Result<()> {
    db.migrate(&[
        Migration::new(
            1,
            "progress",
            "CREATE TABLE progress (key TEXT PRIMARY KEY, last BIGINT NOT NULL, effects BIGINT NOT NULL)",
        ),
        Migration::new(
            2,
            "anomalies",
            "CREATE TABLE anomalies (key TEXT NOT NULL, count BIGINT NOT NULL, last BIGINT NOT NULL)",
        ),
    ])
    .await?;
    let mut tx = db.begin().await?;
    for number in 0..KEYS {
        let insert =
            "INSERT INTO progress (key, last, effects) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING";
        tx.execute(insert, params![key(number)]).await?;
    }
    tx.commit().await
}

/// The handler: takes note of the count, and of what is wrong with it. Where it fails, what it noted must be gone.
pub(crate) async fn note(
    tx: &mut Transaction,
    counted: Counted,
    fails: bool,
) -> Result<(), BoxError> {
    let find = "SELECT last FROM progress WHERE key = $1";
    let row = tx.query_one(find, params![&counted.key]).await?;
    let last: i64 = row.ok_or("a key that nobody counts")?.get("last")?;
    if counted.count != last + 1 {
        tx.execute(
            "INSERT INTO anomalies (key, count, last) VALUES ($1, $2, $3)",
            params![&counted.key, counted.count, last],
        )
        .await?;
    }
    tx.execute(
        "UPDATE progress SET last = $2, effects = effects + 1 WHERE key = $1",
        params![&counted.key, last.max(counted.count)],
    )
    .await?;
    if fails {
        return Err("as it is meant to".into());
    }
    Ok(())
}
