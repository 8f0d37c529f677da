//! From the bus into transactions of a service.
//!
//! What is guaranteed for each handler of an event:
//!
//! - It runs in a transaction that first records the event in the inbox: its effects happen once (G3), and all
//!   of them or none (G1).
//! - When it fails, panics or takes too long, its transaction is rolled back and the event comes again, after an
//!   [exponential backoff](Backoff). After the last attempt it is a dead letter. What cannot be read is one
//!   at once.
//! - It runs in the [context](env::RequestContext) of the request that caused the event, in a span whose parent
//!   is that of the publisher.
//!
//! Events of different keys are handled at the same time, up to a bound; those of one key one by one (G4).

mod process;

use std::{fmt, sync::Arc, time::Duration};

use data::Database;
use env::Instant;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;

use crate::{Backoff, Bus, Delivery, Handlers, Result, Subscription, error::chain};
use process::Consumer;

/// How a consumer works.
#[derive(Clone)]
pub struct Options {
    /// At most so many events are handled at the same time. At least 1; default 64.
    pub concurrency: usize,
    /// After so many failed attempts an event is a dead letter, unless it is the database that cannot work now.
    /// At least 1; default 8.
    pub max_deliveries: u32,
    /// How long to wait between them. Default from 100 ms, doubling, to 30 s.
    pub backoff: Backoff,
    /// How long a handler may take before it counts as failed. Default 30 s.
    pub handler_limit: Duration,
    /// Told of every delivery that was settled, for metrics.
    pub observer: Option<Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrency: 64,
            max_deliveries: 8,
            backoff: Backoff::default(),
            handler_limit: Duration::from_secs(30),
            observer: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("concurrency", &self.concurrency)
            .field("max_deliveries", &self.max_deliveries)
            .field("backoff", &self.backoff)
            .field("handler_limit", &self.handler_limit)
            .finish_non_exhaustive()
    }
}

/// Is told of every delivery that was settled; it must return quickly.
pub type Observer = Arc<dyn Fn(&Processed<'_>) + Send + Sync>;

/// A delivery that was settled.
#[derive(Debug, Clone, Copy)]
pub struct Processed<'a> {
    /// The group.
    pub group: &'a str,
    /// The type of the event.
    pub kind: &'a str,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was handled.
    Handled,
    /// It had been handled before; nothing was done.
    Duplicate,
    /// It failed and comes again.
    Retried,
    /// It failed for good.
    DeadLettered,
}

/// Handles the events of `group` until `shutdown`, and then finishes what it has begun.
///
/// While the bus does not answer, it backs off and goes on trying.
///
/// # Errors
/// [`Error::InvalidPattern`](crate::Error::InvalidPattern), when `handlers` names what is no type.
pub async fn run(
    db: Database,
    bus: Arc<dyn Bus>,
    group: &str,
    handlers: Handlers,
    options: Options,
    shutdown: CancellationToken,
) -> Result<()> {
    let Some(subscription) = subscribe(bus.as_ref(), group, &handlers, &options, &shutdown).await?
    else {
        return Ok(());
    };
    let consumer = Consumer {
        db,
        group,
        handlers,
        options,
        subscription,
        shutdown,
    };
    consume(&consumer).await;
    Ok(())
}

/// Joins the group; `None` when told to stop first.
async fn subscribe(
    bus: &dyn Bus,
    group: &str,
    handlers: &Handlers,
    options: &Options,
    shutdown: &CancellationToken,
) -> Result<Option<Box<dyn Subscription>>> {
    let types = handlers.types();
    let mut failures = 0;
    loop {
        let attempt = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(None),
            attempt = bus.subscribe(group, &types) => attempt,
        };
        match attempt {
            Ok(subscription) => return Ok(Some(subscription)),
            Err(error) if !error.is_retryable() => return Err(error),
            Err(error) => {
                failures += 1;
                tracing::warn!(group, error = chain(&error), "cannot subscribe yet");
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return Ok(None),
                    () = env::sleep(options.backoff.delay(failures)) => {}
                }
            }
        }
    }
}

async fn consume(consumer: &Consumer<'_>) {
    let bound = consumer.options.concurrency.max(1);
    let mut running = FuturesUnordered::new();
    let mut failures = 0;
    let mut not_before = env::instant();
    loop {
        let free = bound - running.len();
        tokio::select! {
            biased;
            () = consumer.shutdown.cancelled() => break,
            // First, so that all that has ended makes room before more is taken.
            Some(()) = running.next() => {}
            taken = take(consumer, free, not_before), if free > 0 => match taken {
                Ok(taken) => {
                    failures = 0;
                    running.extend(taken.into_iter().map(|delivery| consumer.process(delivery)));
                }
                Err(error) => {
                    failures += 1;
                    not_before = env::instant() + consumer.options.backoff.delay(failures);
                    let group = consumer.group;
                    tracing::warn!(group, error = chain(&error), failures, "the bus gives no events");
                }
            },
        }
    }
    while running.next().await.is_some() {}
}

async fn take(consumer: &Consumer<'_>, limit: usize, not_before: Instant) -> Result<Vec<Delivery>> {
    env::sleep_until(not_before).await;
    consumer.subscription.next(limit).await
}
