//! What a service does with its event store: its read models are there before it is reached, are fed while it runs, and
//! what a long transaction keeps from them is in its figures.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use data::{Database, Engine};
use env::chain;
use eventsourcing::{Store, projection};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Context, Error, Result, Service};

/// How often it is looked whether events are held back.
const LOOK: Duration = Duration::from_secs(5);
/// Events that are held back for longer are worth a warning, in seconds.
const LONG: u64 = 60;

/// Makes the tables of the event store and of the service's projections.
pub(crate) async fn prepare(service: &Service, db: &Database) -> Result<()> {
    let name = service.name();
    eventsourcing::install(db)
        .await
        .map_err(Error::start(name, "event store"))?;
    for one in service.projections() {
        projection::prepare(db, one.as_ref())
            .await
            .map_err(Error::start(name, "projections"))?;
    }
    Ok(())
}

/// Feeds the service's projections until `stop`.
pub(crate) fn start(
    service: &Service,
    context: &Context,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    for one in service.projections().iter().cloned() {
        tasks.spawn(projection::run(context.db().clone(), one, stop.clone()));
    }
    // Elsewhere there is one writer, and nothing is ever held back.
    if context.db().engine() == Engine::Postgres {
        tasks.spawn(watch(context.clone(), stop.clone()));
    }
}

/// Keeps the figure of how long events have been held back.
async fn watch(context: Context, stop: CancellationToken) {
    let seconds = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&seconds);
    let registered = context.metrics().register_gauge(
        "events_held_back_seconds",
        "For how long the oldest event has waited for an older transaction to end",
        move || read.load(Ordering::Relaxed) as f64,
    );
    if let Err(error) = registered {
        tracing::warn!(error = %chain(&error), "no figure of events that are held back");
    }
    let store = Store::new(context.db().clone());
    while stop.run_until_cancelled(env::sleep(LOOK)).await.is_some() {
        let Ok(held_back) = store.held_back().await else {
            continue; // the database is away, which others report
        };
        let waits = held_back.since.map_or(0, |since| {
            let waits = env::now().duration_since(since).as_secs();
            u64::try_from(waits).unwrap_or(0)
        });
        seconds.store(waits, Ordering::Relaxed);
        if waits >= LONG {
            let events = held_back.events;
            tracing::warn!(
                events,
                seconds = waits,
                "a transaction somewhere in the cluster has written and does not end: subscribers wait for it"
            );
        }
    }
}
