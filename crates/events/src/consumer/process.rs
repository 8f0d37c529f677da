//! One delivery: handled in transactions, then settled.

use std::panic::AssertUnwindSafe;

use data::Database;
use env::{BoxError, RequestContext};
use futures::FutureExt;
use telemetry::propagation;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field};

use super::{Options, Outcome, Processed};
use crate::{
    CloudEvent, Delivery, Handlers, Result, Subscription,
    error::{chain, is_outage, is_poison},
    handlers::Entry,
};

/// All that handling a delivery needs.
pub(super) struct Consumer<'a> {
    pub(super) db: Database,
    pub(super) group: &'a str,
    pub(super) handlers: Handlers,
    pub(super) options: Options,
    pub(super) subscription: Box<dyn Subscription>,
    pub(super) shutdown: CancellationToken,
}

/// Why an event was not handled.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the handler panicked: {0}")]
    Panicked(String),
    #[error("the handler took longer than {0:?}")]
    TooLong(std::time::Duration),
    #[error(
        "no handler of this group takes events of this type; another version of the service may"
    )]
    NoHandler,
}

impl Consumer<'_> {
    pub(super) async fn process(&self, delivery: Delivery) {
        let event = delivery.event.as_ref();
        let correlation = event.correlationid.as_ref().unwrap_or(&event.id);
        let context = RequestContext::correlated(correlation).caused_by(&event.id);
        let span = self.span(&delivery);
        let work = context.scope(self.handle_and_settle(&delivery));
        work.instrument(span).await;
    }

    /// The conventions of OpenTelemetry for messaging spans name the fields.
    fn span(&self, delivery: &Delivery) -> Span {
        let event = delivery.event.as_ref();
        let span = tracing::info_span!(
            "process",
            "otel.name" = format!("process {}", event.kind),
            "otel.kind" = "consumer",
            "otel.status_code" = field::Empty,
            "messaging.system" = "outrigger",
            "messaging.operation.name" = "process",
            "messaging.operation.type" = "process",
            "messaging.destination.name" = event.kind,
            "messaging.consumer.group.name" = self.group,
            "messaging.message.id" = event.id,
            "messaging.message.conversation_id" = event.correlationid,
            "messaging.outrigger.attempt" = delivery.attempt,
            "error.type" = field::Empty,
        );
        if let Some(traceparent) = &event.traceparent {
            propagation::set_parent(&span, traceparent);
        }
        span
    }

    async fn handle_and_settle(&self, delivery: &Delivery) {
        let started = env::instant();
        let (outcome, end) = match self.handle(&delivery.event).await {
            Ok(outcome) => (outcome, End::Ack),
            Err(error) => self.failed(delivery, error),
        };
        self.settle(delivery, &end).await;
        if let Some(observer) = &self.options.observer {
            observer(&Processed {
                group: self.group,
                kind: &delivery.event.kind,
                attempt: delivery.attempt,
                outcome,
                duration: env::instant() - started,
            });
        }
    }

    /// Runs every handler that the event matches. Each is tried, even after one has failed.
    async fn handle(&self, event: &CloudEvent) -> Result<Outcome, BoxError> {
        let mut failure = None;
        let mut outcome = None;
        for entry in self.handlers.matching(&event.kind) {
            let limit = self.options.handler_limit;
            let work = AssertUnwindSafe(env::timeout(limit, self.run(entry, event)));
            let result = match work.catch_unwind().await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(Failure::TooLong(limit).into()),
                Err(panic) => Err(Failure::Panicked(message(panic.as_ref())).into()),
            };
            match result {
                Ok(true) => outcome = Some(Outcome::Handled),
                Ok(false) => _ = outcome.get_or_insert(Outcome::Duplicate),
                Err(error) => _ = failure.get_or_insert(error),
            }
        }
        match (failure, outcome) {
            (Some(error), _) => Err(error),
            (None, Some(outcome)) => Ok(outcome),
            (None, None) => Err(Failure::NoHandler.into()),
        }
    }

    /// Runs one handler in its transaction. Returns whether it had to: `false` when it had run before.
    async fn run(&self, entry: &Entry, event: &CloudEvent) -> Result<bool, BoxError> {
        let effect = (entry.start)(event.clone()).await?;
        let mut tx = self.db.begin().await?;
        let inbox = format!("{}/{}", self.group, entry.name);
        if !tx.receive(&inbox, &event.id).await? {
            // Not before it is durable that it had run.
            tx.rollback().await?;
            return Ok(false);
        }
        effect.apply(&mut tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    fn failed(&self, delivery: &Delivery, error: BoxError) -> (Outcome, End) {
        let text = chain(error.as_ref());
        let poison = is_poison(error.as_ref());
        let span = Span::current();
        span.record("otel.status_code", "ERROR");
        let (kind, id, attempt) = (&delivery.event.kind, &delivery.event.id, delivery.attempt);
        // A database that cannot work is not the event's fault, however long it lasts.
        let exhausted = attempt >= self.options.max_deliveries && !is_outage(error.as_ref());
        if poison || exhausted {
            span.record("error.type", if poison { "poison" } else { "exhausted" });
            tracing::error!(
                group = self.group,
                kind,
                id,
                attempt,
                error = text,
                "dead letter"
            );
            return (Outcome::DeadLettered, End::DeadLetter { error: text });
        }
        span.record("error.type", "failed");
        let after = self.options.backoff.delay(attempt);
        let delay_ms = after.as_millis();
        tracing::warn!(
            group = self.group,
            kind,
            id,
            attempt,
            delay_ms,
            error = text,
            "comes again"
        );
        (Outcome::Retried, End::Retry { after, error: text })
    }

    /// Tells the bus, until it has heard it: an event that is not settled holds those of its key.
    async fn settle(&self, delivery: &Delivery, end: &End) {
        let mut failures = 0;
        loop {
            let told = match end {
                End::Ack => self.subscription.ack(delivery).await,
                End::Retry { after, error } => {
                    self.subscription.retry(delivery, *after, error).await
                }
                End::DeadLetter { error } => self.subscription.dead_letter(delivery, error).await,
            };
            let Err(error) = told else { return };
            failures += 1;
            let id = &delivery.event.id;
            tracing::warn!(
                group = self.group,
                id,
                error = chain(&error),
                "cannot settle an event"
            );
            tokio::select! {
                biased;
                // The bus delivers it again, and the inbox knows it then.
                () = self.shutdown.cancelled() => return,
                () = env::sleep(self.options.backoff.delay(failures)) => {}
            }
        }
    }
}

enum End {
    Ack,
    Retry {
        after: std::time::Duration,
        error: String,
    },
    DeadLetter {
        error: String,
    },
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}
