//! One attempt to handle an event: its handlers, each in a transaction that the inbox guards.

use std::{iter, panic::AssertUnwindSafe, time::Duration};

use data::{Database, Transaction, inbox::receipt};
use env::{BoxError, RequestContext, Timestamp, chain};
use futures::{FutureExt, future::BoxFuture};
use telemetry::propagation;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field};

use super::{Options, Outcome, Processed, rerun::Reruns};
use crate::{
    CloudEvent, Handlers, Result,
    deferred::{self, Burden, Plan},
    error::{is_outage, is_poison},
    handlers::{Effect, Entry},
    sequence,
};

/// How often a handler runs again at once, while the database cannot work.
const RERUNS: u32 = 3;
/// The same for the short transactions of the consumer itself: if they fail for good, a claim has to run out.
const REWRITES: u32 = 8;

/// All that handling an event needs.
pub(super) struct Consumer<'a> {
    pub(super) db: Database,
    pub(super) group: &'a str,
    pub(super) handlers: Handlers,
    pub(super) options: Options,
    pub(super) shutdown: CancellationToken,
}

/// What a handler's transaction makes sure of first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// That the handler has not run before.
    New,
    /// That, and that nothing is in the event's [way](deferred::Standing::Free). Where it is not so, the event counts as a
    /// [duplicate](Outcome::Duplicate).
    NewAndFree,
}

/// An attempt that failed.
pub(super) struct Failed {
    pub(super) error: BoxError,
    /// Those that failed; empty where none matches.
    pub(super) handlers: Vec<String>,
    /// Whether the later events of its key have to wait.
    pub(super) holds: bool,
}

impl Failed {
    /// Whether it was too late to be handled.
    pub(super) fn is_expired(&self) -> bool {
        is_expired(&self.error)
    }
}

fn is_expired(error: &BoxError) -> bool {
    matches!(error.downcast_ref(), Some(Failure::Expired { .. }))
}

/// Why an event was not handled.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the handler panicked: {0}")]
    Panicked(String),
    #[error("the handler took longer than {0:?}")]
    TooLong(Duration),
    #[error(
        "no handler of {group} takes events of type {kind}; \
         if a newer version of the service does, replay it once that version runs"
    )]
    NoHandler { group: String, kind: String },
    #[error(
        "handling it was begun {0} times and never ended: each time the process ended, or did not get on"
    )]
    NeverEnded(u32),
    #[error("it expired at {at}, before it was handled; replayed, it is handled all the same")]
    Expired { at: Timestamp },
}

impl Consumer<'_> {
    /// Does `work` about an event, as its publisher's request and in a span under its publisher's.
    pub(super) async fn about<T>(
        &self,
        event: &CloudEvent,
        attempt: u32,
        work: impl Future<Output = T>,
    ) -> T {
        let correlation = event.correlationid.as_ref().unwrap_or(&event.id);
        let context = RequestContext::correlated(correlation).caused_by(&event.id);
        let context = match event.time_left() {
            Some(left) => context.within(left),
            None => context,
        };
        context
            .scope(work)
            .instrument(self.span(event, attempt))
            .await
    }

    /// The conventions of OpenTelemetry for messaging spans name the fields.
    fn span(&self, event: &CloudEvent, attempt: u32) -> Span {
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
            "messaging.outrigger.attempt" = attempt,
            "error.type" = field::Empty,
        );
        if let Some(traceparent) = &event.traceparent {
            propagation::set_parent(&span, traceparent);
        }
        span
    }

    /// Runs every handler that the event matches, or those of them that are in `only`. Each is tried, even after
    /// one has failed.
    pub(super) async fn attempt(
        &self,
        event: &CloudEvent,
        only: &[String],
        first: First,
    ) -> Result<Outcome, Failed> {
        let mut failed: Option<Failed> = None;
        let mut outcome = None;
        let wanted = |entry: &&Entry| only.iter().any(|name| **name == *entry.name);
        // Where none is left of those that could not handle it, because they read another version, the one that reads
        // its version now stands in for them.
        let left = only.is_empty() || self.handlers.matching(event).any(|entry| wanted(&entry));
        let chosen = |entry: &&Entry| match left {
            true => only.is_empty() || wanted(entry),
            false => entry.is_for_version_of(event),
        };
        for entry in self.handlers.matching(event).filter(chosen) {
            let name: &str = &entry.name;
            match self.insist(entry, event, first).await {
                Ok(Outcome::Duplicate) => _ = outcome.get_or_insert(Outcome::Duplicate),
                Ok(new) => outcome = Some(new),
                Err(error) => {
                    // What nobody wants any more holds nothing up.
                    let holds = entry.holds && !is_expired(&error);
                    let failed = failed.get_or_insert_with(|| Failed {
                        error,
                        handlers: Vec::new(),
                        holds: false,
                    });
                    failed.handlers.push(name.to_owned());
                    failed.holds |= holds;
                }
            }
        }
        match (failed, outcome) {
            (Some(failed), _) => Err(failed),
            (None, Some(outcome)) => Ok(outcome),
            (None, None) => Err(Failed {
                error: Failure::NoHandler {
                    group: self.group.to_owned(),
                    kind: event.kind.clone(),
                }
                .into(),
                handlers: only.to_vec(),
                holds: true,
            }),
        }
    }

    /// Runs one handler, again where the database asks for that.
    async fn insist(
        &self,
        entry: &Entry,
        event: &CloudEvent,
        first: First,
    ) -> Result<Outcome, BoxError> {
        let mut reruns = Reruns::of(&self.db, RERUNS);
        loop {
            let error = match self.run(entry, event, first, &mut reruns).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            if !reruns.after(error.as_ref()).await {
                return Err(error);
            }
            tracing::debug!(handler = %entry.name, error = chain(error.as_ref()), "runs again");
        }
    }

    /// Runs one handler, or what stands in for it where the event has expired: what it prepares, and then its transaction
    /// when that may run.
    async fn run(
        &self,
        entry: &Entry,
        event: &CloudEvent,
        first: First,
        reruns: &mut Reruns,
    ) -> Result<Outcome, BoxError> {
        let limit = self.options.handler_limit;
        let begun = env::instant();
        let (effect, outcome): (Box<dyn Effect>, _) = match (event.expirytime, &entry.expired) {
            (Some(_), Some(expired)) if event.has_expired() => {
                (expired(event.clone()), Outcome::Expired)
            }
            (Some(at), None) if event.has_expired() => (Box::new(TooLate { at }), Outcome::Expired),
            _ => {
                if entry.prepares {
                    // Nobody waits for what is asked of the outside, least of all a transaction of the preparation
                    // itself.
                    reruns.step_aside();
                }
                let effect = self.guard(limit, (entry.start)(event.clone())).await?;
                (effect, Outcome::Handled)
            }
        };
        let left = limit.saturating_sub(env::instant() - begun);
        reruns.turn().await;
        let commit = self.commit(entry, event, first, effect, outcome);
        self.guard(left, Box::pin(commit)).await
    }

    /// Does the work of a handler for as long as it may take, and survives its panic.
    async fn guard<T>(
        &self,
        left: Duration,
        work: BoxFuture<'_, Result<T, BoxError>>,
    ) -> Result<T, BoxError> {
        let work = AssertUnwindSafe(env::timeout(left, work));
        match work.catch_unwind().await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(Failure::TooLong(self.options.handler_limit).into()),
            Err(panic) => Err(Failure::Panicked(message(panic.as_ref())).into()),
        }
    }

    /// Does what is left of a handler in its transaction, and says that it ended with `outcome`, or had run before.
    async fn commit(
        &self,
        entry: &Entry,
        event: &CloudEvent,
        first: First,
        effect: Box<dyn Effect>,
        outcome: Outcome,
    ) -> Result<Outcome, BoxError> {
        let mut tx = self.db.begin().await?;
        let inbox = format!("{}/{}", self.group, entry.name);
        let received = sequence::Received::of(self.group, event);
        let number = received.as_ref().map(sequence::Received::statement);
        let receipt = match first {
            First::New => receipt(&inbox, &event.id),
            First::NewAndFree => deferred::receipt_if_free(self.group, &inbox, event),
        };
        let statements = iter::once(receipt).chain(number);
        let rows = tx.execute_all(statements.collect()).await?;
        if rows.first() != Some(&1) {
            // Not before it is durable that it had run.
            tx.rollback().await?;
            return Ok(Outcome::Duplicate);
        }
        let gap = match received {
            Some(received) => received.judge(&mut tx, rows.last() == Some(&1)).await?,
            None => None,
        };
        effect.apply(&mut tx).await?;
        tx.commit().await?;
        tracing::debug!(handler = inbox, id = event.id, "an event is handled");
        if let Some(gap) = gap {
            gap.report();
        }
        Ok(outcome)
    }

    /// What becomes of an event after its attempt number `attempt` has failed; `None` when it was not the event's
    /// fault, for the database cannot work now.
    pub(super) fn judge(&self, event: &CloudEvent, attempt: u32, failed: &Failed) -> Option<Plan> {
        let error = chain(failed.error.as_ref());
        let (group, kind, id) = (self.group, &event.kind, &event.id);
        let span = Span::current();
        span.record("otel.status_code", "ERROR");
        if failed.is_expired() {
            span.record("error.type", "expired");
            tracing::warn!(group, kind, id, error, "expired");
            let attempts = attempt.saturating_sub(1);
            return Some(Plan::Dead { attempts, error });
        }
        let poison = is_poison(failed.error.as_ref());
        if !poison && is_outage(failed.error.as_ref()) {
            span.record("error.type", "outage");
            tracing::warn!(group, kind, id, error, "the database cannot work");
            return None;
        }
        if poison || attempt >= self.options.max_deliveries {
            span.record("error.type", if poison { "poison" } else { "exhausted" });
            tracing::error!(group, kind, id, attempt, error, "dead letter");
            let attempts = attempt;
            return Some(Plan::Dead { attempts, error });
        }
        span.record("error.type", "failed");
        // Not past its expiry, where nothing but that is to be said of it.
        let left = event.time_left().filter(|left| !left.is_zero());
        let after = self.options.backoff.delay(attempt);
        let after = left.map_or(after, |left| after.min(left));
        let delay_ms = after.as_millis();
        tracing::warn!(group, kind, id, attempt, delay_ms, error, "is tried again");
        Some(Plan::Retry {
            after,
            attempts: attempt,
            error: Some(error),
        })
    }

    /// What is written of an event in the database: which of its handlers are still to run.
    pub(super) fn burden<'b>(&'b self, event: &'b CloudEvent, failed: &'b Failed) -> Burden<'b> {
        Burden {
            group: self.group,
            event,
            handlers: &failed.handlers,
            holds: failed.holds,
        }
    }

    /// Writes, again where the database asks for that.
    pub(super) async fn write<'a, T>(
        &'a self,
        act: impl Fn() -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let mut reruns = Reruns::of(&self.db, REWRITES);
        loop {
            reruns.turn().await;
            match act().await {
                Err(error) if reruns.after(&error).await => {}
                result => return result,
            }
        }
    }

    /// Tells the observer.
    pub(super) fn observe(
        &self,
        event: &CloudEvent,
        attempt: u32,
        outcome: Outcome,
        started: env::Instant,
    ) {
        if let Some(observer) = &self.options.observer {
            observer(&Processed {
                group: self.group,
                kind: &event.kind,
                attempt,
                outcome,
                duration: env::instant() - started,
            });
        }
    }
}

/// What is done with an expired event where its handler has nothing to say to that: it was not handled before.
struct TooLate {
    at: Timestamp,
}

impl Effect for TooLate {
    fn apply<'a>(self: Box<Self>, _: &'a mut Transaction) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move { Err(Failure::Expired { at: self.at }.into()) })
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}
