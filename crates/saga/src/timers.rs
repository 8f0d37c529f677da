//! Acting on the timers of sagas: calls that were not answered in time, and sleeps that are over.

use std::time::Duration;

use data::{Database, Timer, Transaction, timers::LOOK_AGAIN};
use env::BoxError;
use events::Backoff;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::{Result, Sagas, driver};

/// How many timers are acted on at the same time.
const BATCH: u32 = 64;
/// When a timer is tried again that could not be acted on for a reason that will not pass by itself.
const SET_ASIDE: Duration = Duration::from_mins(1);
/// How long the timers are left alone that other replicas are acting on.
const LEAVE: Duration = Duration::from_millis(20);

/// Acts on timers until `shutdown`.
pub(crate) async fn run(sagas: &Sagas, db: &Database, shutdown: CancellationToken) {
    let mut changed = db.timers_changed();
    let mut failures = 0;
    while !shutdown.is_cancelled() {
        let wait = match act(sagas, db).await {
            Ok(wait) => {
                failures = 0;
                wait
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(error, failures, "cannot act on the timers of sagas");
                Backoff::default().delay(failures)
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            _ = changed.wait(), if failures == 0 => {}
            () = env::sleep(wait) => {}
        }
    }
}

/// Acts on every timer that is due, but for those that another replica is acting on; how long it is until the next look.
async fn act(sagas: &Sagas, db: &Database) -> Result<Duration, BoxError> {
    loop {
        // Alone, for mostly there is none that is due.
        let Some(next) = db.next_timer(driver::TIMERS).await? else {
            return Ok(LOOK_AGAIN);
        };
        let wait = Duration::try_from(next.duration_since(env::now())).unwrap_or_default();
        if !wait.is_zero() {
            return Ok(wait.min(LOOK_AGAIN));
        }
        let due = db.timers_due(driver::TIMERS, env::now(), BATCH).await?;
        // Those that commit at the same time share the wait for the disk.
        let fired = due.into_iter().map(|timer| fire(sagas, db, timer));
        let fired: Result<Vec<bool>, _> = join_all(fired).await.into_iter().collect();
        if !fired?.contains(&true) {
            return Ok(LEAVE);
        }
    }
}

/// Acts on one timer, in a transaction of its own: no saga has to answer for another. Whether it did, or set it aside.
async fn fire(sagas: &Sagas, db: &Database, timer: Timer) -> Result<bool, BoxError> {
    let acted = db.transaction(async |mut tx| elapsed(sagas, &mut tx, &timer).await);
    // In no span, so that what is sent goes on with the trace in which the saga was started.
    match acted.await {
        Ok(acted) => Ok(acted),
        Err(error) if error.is_retryable() => Err(error.into()),
        Err(error) => {
            // Named in the statement: a `dyn Error` must not live on across an await.
            tracing::error!(
                id = timer.id,
                error = &error as &dyn std::error::Error,
                "a timer of a saga is set aside"
            );
            set_aside(db, timer).await?;
            Ok(true)
        }
    }
}

async fn elapsed(sagas: &Sagas, tx: &mut Transaction, timer: &Timer) -> Result<bool> {
    if !tx.take_timer(&timer.id).await? {
        // Answered since it was looked at, or another replica is faster.
        return Ok(false);
    }
    let (id, news) = driver::read_timer(timer)?;
    sagas.hear(tx, &id, news).await?;
    Ok(true)
}

async fn set_aside(db: &Database, timer: Timer) -> Result<(), BoxError> {
    let due = env::now() + SET_ASIDE;
    let mut tx = db.begin().await?;
    tx.schedule(Timer { due, ..timer });
    Ok(tx.commit().await?)
}
