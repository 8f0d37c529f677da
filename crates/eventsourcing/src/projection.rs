//! Read models that follow the store.
//!
//! A projection's read model and its place in the store commit in one transaction, so it takes each event exactly once,
//! also when two instances of a service run it. What fails is tried again, with backoff, and holds up what comes after
//! it; [`status`] tells of it meanwhile.

use std::{fmt::Write as _, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use data::{Database, Row, Transaction, params};
use env::{BoxError, Timestamp};
use events::Backoff;
use futures::{FutureExt, future::BoxFuture};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Recorded, Result, Store,
    store::{CHANNEL, int},
};

/// How many events are taken in one transaction.
const BATCH: u32 = 100;
/// How often the store is looked at without being woken, in case another process appends.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The most bytes that are kept of an error.
const ERROR_LIMIT: usize = 2048;

/// Keeps a read model.
pub trait Projection: Send + Sync + 'static {
    /// Its name: its place in the store is kept under it.
    fn name(&self) -> &str;

    /// Takes one event into the read model. Events come in the order of the store, those of all kinds: let those that
    /// do not matter pass ([`Recorded::read`] is `None` for other aggregates).
    fn apply<'a>(
        &'a self,
        tx: &'a mut Transaction,
        event: &'a Recorded,
    ) -> BoxFuture<'a, Result<(), BoxError>>;
}

/// How far a projection is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// The position of the last event that it took.
    pub position: u64,
    /// How often the next one has failed; 0 where all is well.
    pub failures: u32,
    /// Why it failed the last time.
    pub error: Option<String>,
    /// When that was, or when an event was last taken.
    pub updated: Timestamp,
}

/// How far each projection is, by name.
///
/// # Errors
/// [`Error::Database`].
pub async fn list(db: &Database) -> Result<Vec<Status>> {
    let all =
        "SELECT name, position, failures, error, updated FROM outrigger_projections ORDER BY name";
    let rows = db.query(all, params![]).await?;
    rows.iter().map(read).collect()
}

/// How far the projection `name` is.
///
/// # Errors
/// [`Error::NoProjection`], [`Error::Database`].
pub async fn status(db: &Database, name: &str) -> Result<Status> {
    let one = "SELECT name, position, failures, error, updated FROM outrigger_projections WHERE name = $1";
    let row = db.query_one(one, params![name]).await?;
    row.as_ref().map_or_else(
        || {
            Err(Error::NoProjection {
                name: name.to_owned(),
            })
        },
        read,
    )
}

fn read(row: &Row) -> Result<Status> {
    Ok(Status {
        name: row.get("name")?,
        position: row.get("position")?,
        failures: row.get("failures")?,
        error: row.get("error")?,
        updated: row.get("updated")?,
    })
}

/// Keeps the read model of `projection` up to date until `shutdown`.
pub async fn run(db: Database, projection: Arc<dyn Projection>, shutdown: CancellationToken) {
    let mut changed = db.changes(CHANNEL);
    let runner = Runner {
        store: Store::new(db.clone()),
        db,
        projection: projection.as_ref(),
    };
    let mut failures = 0;
    let mut one_by_one = 0;
    while !shutdown.is_cancelled() {
        let limit = if one_by_one == 0 { BATCH } else { 1 };
        let wait = match runner.advance(limit).await {
            Ok(0) => LOOK_AGAIN,
            Ok(_) => {
                failures = 0;
                one_by_one = u32::saturating_sub(one_by_one, 1);
                continue;
            }
            Err(error) => {
                failures += 1;
                // So that all of the batch that come before the event that fails are taken.
                one_by_one = BATCH;
                runner.report(failures, &error).await;
                Backoff::default().delay(failures)
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = changed.wait(), if failures == 0 => {}
            () = env::sleep(wait) => {}
        }
    }
}

struct Runner<'a> {
    db: Database,
    store: Store,
    projection: &'a dyn Projection,
}

impl Runner<'_> {
    /// Takes the next events, at most `limit`; how many there were.
    async fn advance(&self, limit: u32) -> Result<usize, BoxError> {
        let position = self.position().await?;
        let events = self.store.read_all(position, limit).await?;
        let Some(last) = events.last() else {
            return Ok(0);
        };
        let mut tx = self.db.begin().await?;
        if !self.check_in(&mut tx, position, last.position).await? {
            // Another instance has taken them.
            tx.rollback().await?;
            return Ok(events.len());
        }
        for event in &events {
            self.apply(&mut tx, event).await?;
        }
        tx.commit().await?;
        Ok(events.len())
    }

    async fn position(&self) -> Result<u64> {
        match status(&self.db, self.projection.name()).await {
            Ok(status) => Ok(status.position),
            Err(Error::NoProjection { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Moves the checkpoint, if it is where it was read. Nobody else can move it until the transaction ends.
    async fn check_in(&self, tx: &mut Transaction, from: u64, to: u64) -> data::Result<bool> {
        let name = self.projection.name();
        tx.execute(
            "INSERT INTO outrigger_projections (name, position, failures, updated)
             VALUES ($1, 0, 0, $2) ON CONFLICT DO NOTHING",
            params![name, env::now()],
        )
        .await?;
        let moved = tx
            .execute(
                "UPDATE outrigger_projections
                 SET position = $3, failures = 0, error = NULL, updated = $4
                 WHERE name = $1 AND position = $2",
                params![name, int(from), int(to), env::now()],
            )
            .await?;
        Ok(moved == 1)
    }

    async fn apply(&self, tx: &mut Transaction, event: &Recorded) -> Result<(), BoxError> {
        let applied = AssertUnwindSafe(self.projection.apply(tx, event));
        let result = match applied.catch_unwind().await {
            Ok(result) => result,
            Err(_) => Err("it panicked".into()),
        };
        result.map_err(|source| {
            Box::new(Rejected {
                position: event.position,
                source,
            })
            .into()
        })
    }

    /// Makes a failure visible; best effort, for the database itself may be what fails.
    async fn report(&self, failures: u32, error: &BoxError) {
        let (name, text) = (self.projection.name(), chain(error.as_ref()));
        tracing::warn!(
            projection = name,
            failures,
            error = text,
            "cannot go on yet"
        );
        let written = async {
            let mut tx = self.db.begin().await?;
            tx.execute(
                "INSERT INTO outrigger_projections (name, position, failures, error, updated)
                 VALUES ($1, 0, $2, $3, $4) ON CONFLICT (name) DO UPDATE SET
                 failures = excluded.failures, error = excluded.error, updated = excluded.updated",
                params![name, failures, text, env::now()],
            )
            .await?;
            tx.commit().await
        };
        if let Err(error) = written.await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(projection = name, error, "cannot write down its failure");
        }
    }
}

/// An event that a projection would not take.
#[derive(Debug, thiserror::Error)]
#[error("the event at position {position} was not taken")]
struct Rejected {
    position: u64,
    source: BoxError,
}

/// An error with all that caused it, in one line of bounded length.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text.truncate(text.floor_char_boundary(ERROR_LIMIT));
    text
}
