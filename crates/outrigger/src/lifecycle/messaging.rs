//! The messages of a service: what is handled, what is sent, and the figures of both.

use std::{pin::pin, sync::Arc, time::Duration};

use env::chain;
use events::{Backoff, Bus, Handlers, consumer, relay};
use futures::future::{self, Either};
use telemetry::metrics::Outcome;
use tokio_util::sync::CancellationToken;

use super::stages::Life;
use crate::{Context, Platform, Service, endpoints::Consumer, event_store, retention};

/// How long to wait before a consumer that cannot go on is started again: somebody may have changed what was wrong.
const RESTART: Backoff = Backoff {
    base: Duration::from_secs(1),
    limit: Duration::from_secs(60),
};
/// A consumer that has gone on for so long works.
const SETTLED: Duration = Duration::from_secs(2);

/// Starts what carries messages to and from `service`: handlers, timers of sagas, projections, the relay, and the
/// forgetting of what is old. Returns how the handlers are.
pub(super) fn start(
    service: &Service,
    context: &Context,
    platform: &Platform,
    life: &Life,
) -> Consumer {
    let (sagas, observer) = (context.sagas().clone(), observer(context));
    sagas.observe(observer.clone());
    let handlers = service.handlers(context, sagas.handlers(Handlers::new()));
    let (db, bus) = (context.db().clone(), platform.bus_of(service.name()));
    let settings = &platform.settings().messaging;
    let options = consumer::Options {
        max_deliveries: settings.max_deliveries,
        concurrency: settings.concurrency,
        observer: Some(observer),
        ..consumer::Options::default()
    };
    let stop = life.draining.clone();
    let consumer = Consumer::default();
    let consuming = Consuming {
        context: context.clone(),
        bus: bus.clone(),
        handlers,
        options,
        state: consumer.clone(),
    };
    life.handling.spawn(consuming.run(stop.clone()));
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
    consumer
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
            consumer::Outcome::Expired => Outcome::Expired,
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

/// What handles messages, started again when it cannot go on.
struct Consuming {
    context: Context,
    bus: Arc<dyn Bus>,
    handlers: Handlers,
    options: consumer::Options,
    state: Consumer,
}

impl Consuming {
    async fn run(self, stop: CancellationToken) {
        let group = self.context.service();
        let mut failures = 0;
        while let Err(error) = self.once(&stop).await {
            failures += 1;
            let (again, error) = (RESTART.delay(failures), chain(&error));
            tracing::error!(service = group, error, ?again, "messages are not handled");
            self.state.failed(error);
            if stop.run_until_cancelled(env::sleep(again)).await.is_none() {
                return;
            }
        }
    }

    /// Handles messages until told to stop, or until that cannot go on.
    async fn once(&self, stop: &CancellationToken) -> events::Result<()> {
        let (db, bus) = (self.context.db().clone(), self.bus.clone());
        let (handlers, options) = (self.handlers.clone(), self.options.clone());
        let group = self.context.service();
        let running = consumer::run(db, bus, group, handlers, options, stop.clone());
        let settling = async {
            env::sleep(SETTLED).await;
            self.state.works();
            future::pending().await
        };
        match future::select(pin!(running), pin!(settling)).await {
            Either::Left((ended, _)) => ended,
            Either::Right((never, _)) => never,
        }
    }
}
