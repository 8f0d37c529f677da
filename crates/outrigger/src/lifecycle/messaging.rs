//! The messages of a service: what is handled, what is sent, and the figures of both.

use std::sync::Arc;

use env::chain;
use events::{Bus, Handlers, consumer, relay};
use telemetry::metrics::Outcome;
use tokio_util::sync::CancellationToken;

use super::stages::Life;
use crate::{Context, Platform, Service, event_store, retention};

/// Starts what carries messages to and from `service`: handlers, timers of sagas, projections, the relay, and the
/// forgetting of what is old.
pub(super) fn start(service: &Service, context: &Context, platform: &Platform, life: &Life) {
    let handlers = service.handlers(context, context.sagas().handlers(Handlers::new()));
    let (db, bus) = (context.db().clone(), platform.bus().clone());
    let settings = &platform.settings().messaging;
    let options = consumer::Options {
        max_deliveries: settings.max_deliveries,
        concurrency: settings.concurrency,
        observer: Some(observer(context)),
        ..consumer::Options::default()
    };
    let stop = life.draining.clone();
    let consuming = consume(
        context.clone(),
        bus.clone(),
        handlers,
        options,
        stop.clone(),
    );
    life.handling.spawn(consuming);
    let sagas = context.sagas().clone();
    let timers = stop.clone();
    life.handling
        .spawn(async move { sagas.run_timers(timers).await });
    event_store::start(service, context, &life.handling, &stop);
    let keep = platform.settings().idempotency.keep;
    let forgetting = retention::run(context.clone(), bus.clone(), keep, stop);
    life.handling.spawn(forgetting);
    let options = relay::Options {
        replay_window: settings.replay_window,
        observer: Some(published(context)),
        ..relay::Options::default()
    };
    life.relaying
        .spawn(relay::run(db, bus, options, life.flushing.clone()));
}

/// Every batch that the bus was given is in the service's figures.
fn published(context: &Context) -> relay::Observer {
    let metrics = context.metrics().clone();
    Arc::new(move |batch| {
        metrics.batch_published(batch.outcome, batch.duration);
        if batch.outcome.is_ok() {
            for kind in &batch.kinds {
                metrics.message_sent(kind);
            }
        }
    })
}

/// Every message that was handled is in the service's figures.
fn observer(context: &Context) -> consumer::Observer {
    let (metrics, performance) = (context.metrics().clone(), context.performance().clone());
    Arc::new(move |processed| {
        let outcome = match processed.outcome {
            consumer::Outcome::Handled => Outcome::Handled,
            consumer::Outcome::Duplicate => Outcome::Duplicate,
            consumer::Outcome::Held => Outcome::Held,
            consumer::Outcome::Retried => Outcome::Retried,
            consumer::Outcome::DeadLettered => Outcome::DeadLettered,
        };
        metrics.message_processed(processed.kind, processed.group, outcome, processed.duration);
        match outcome {
            // Nothing was done yet that could be measured.
            Outcome::Held => {}
            _ => {
                let succeeded = matches!(outcome, Outcome::Handled | Outcome::Duplicate);
                performance.record(processed.kind, processed.duration, succeeded);
            }
        }
    })
}

async fn consume(
    context: Context,
    bus: Arc<dyn Bus>,
    handlers: Handlers,
    options: consumer::Options,
    stop: CancellationToken,
) {
    let (db, group) = (context.db().clone(), context.service());
    if let Err(error) = consumer::run(db, bus, group, handlers, options, stop).await {
        tracing::error!(service = group, error = %chain(&error), "messages are not handled any more");
    }
}
