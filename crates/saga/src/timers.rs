//! Acting on the timers of sagas: calls that were not answered in time, and sleeps that are over.

use std::time::Duration;

use data::{Database, Timer, Transaction};
use env::BoxError;
use events::Backoff;
use tokio_util::sync::CancellationToken;

use crate::{Result, Sagas, driver};

/// When a timer is tried again that could not be acted on for a reason that will not pass by itself.
const SET_ASIDE: Duration = Duration::from_mins(1);
/// The longest wait without looking, in case the wall clock was set.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

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
            () = changed.wait(), if failures == 0 => {}
            () = env::sleep(wait) => {}
        }
    }
}

/// Acts on every timer that is due; how long it is until the next.
async fn act(sagas: &Sagas, db: &Database) -> Result<Duration, BoxError> {
    loop {
        let Some(due) = db.next_timer(driver::TIMERS).await? else {
            return Ok(LOOK_AGAIN);
        };
        let now = env::now();
        if due > now {
            let wait = Duration::try_from(due.duration_since(now)).unwrap_or(LOOK_AGAIN);
            return Ok(wait.min(LOOK_AGAIN));
        }
        fire(sagas, db).await?;
    }
}

/// Acts on the earliest timer, in a transaction of its own: no saga has to answer for another.
async fn fire(sagas: &Sagas, db: &Database) -> Result<(), BoxError> {
    let mut tx = db.begin().await?;
    let due = tx.due_timers(driver::TIMERS, env::now(), 1).await?;
    let Some(timer) = due.into_iter().next() else {
        return Ok(());
    };
    // In no span, so that what is sent goes on with the trace in which the saga was started.
    match elapsed(sagas, &mut tx, &timer).await {
        Ok(()) => Ok(tx.commit().await?),
        Err(error) if error.is_retryable() => Err(error.into()),
        Err(error) => {
            // Named in the statement: a `dyn Error` must not live on across an await.
            tracing::error!(
                id = timer.id,
                error = &error as &dyn std::error::Error,
                "a timer of a saga is set aside"
            );
            tx.rollback().await?;
            set_aside(db, timer).await
        }
    }
}

async fn elapsed(sagas: &Sagas, tx: &mut Transaction, timer: &Timer) -> Result<()> {
    let (id, news) = driver::read_timer(timer)?;
    sagas.hear(tx, &id, news).await
}

async fn set_aside(db: &Database, timer: Timer) -> Result<(), BoxError> {
    let due = env::now() + SET_ASIDE;
    let mut tx = db.begin().await?;
    tx.schedule(&Timer { due, ..timer }).await?;
    Ok(tx.commit().await?)
}
