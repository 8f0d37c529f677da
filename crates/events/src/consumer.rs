//! From the bus into transactions of a service.
//!
//! What is guaranteed for each handler of an event:
//!
//! - It runs in a transaction that first records the event in the inbox: its effects happen once (G3), and all
//!   of them or none (G1).
//! - When it fails, panics or takes too long, its transaction is rolled back and the service takes the event over
//!   into its own database. From there it is tried again, after an [exponential backoff](Backoff). After the last
//!   attempt it is a [dead letter](crate::dead_letters). What cannot be read is one at once.
//! - It runs in the [context](env::RequestContext) of the request that caused the event, in a span whose parent
//!   is that of the publisher.
//!
//! An event that [expires](crate::CloudEvent::expirytime) is handled with what is left of its time for a
//! [deadline](env::RequestContext::deadline). When that is over, it is not handled nor tried again: its handler may
//! [deal with that](Handlers::or_expired), otherwise it is a dead letter that holds nothing up.
//!
//! Events of different keys are handled at the same time, up to a bound; those of one key one by one (G4), the
//! later ones behind one that failed too, unless [its handler lets them pass](Handlers::or_skip).
//!
//! Several versions of a service may be members of its group at once. What a member has no handler for it takes over
//! too, and counts no attempt: a version that has one handles it from there, in its turn. When for an
//! [hour](Options::unclaimed_limit) there is none, it is a dead letter. A type is left out by
//! [saying so](Handlers::without) (docs/decisions/0026).
//!
//! While the database cannot work, whatever the event is, the event stays on the bus and counts no attempt.

mod attempt;
mod delivery;
mod driver;
mod rerun;

use std::{fmt, sync::Arc, time::Duration};

use data::Database;
use env::{Instant, chain};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;

use crate::{Backoff, Bus, Delivery, Handlers, Result, Subscription, deferred, pattern, sequence};
use attempt::Consumer;

/// How a consumer works.
#[derive(Clone)]
pub struct Options {
    /// At most so many events from the bus are handled at the same time, and so many that are tried again. At least
    /// 1; default 64.
    pub concurrency: usize,
    /// After so many failed attempts an event is a dead letter, unless it is the database that cannot work now.
    /// At least 1; default 8.
    pub max_deliveries: u32,
    /// How long to wait between them. Default from 100 ms, doubling, to 30 s.
    pub backoff: Backoff,
    /// How long a handler may take before it counts as failed. Default 30 s.
    pub handler_limit: Duration,
    /// How long an event waits for a version of the service that has a handler for it, before it is a dead letter.
    /// Default 1 h.
    pub unclaimed_limit: Duration,
    /// Told of every attempt, for metrics.
    pub observer: Option<Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrency: 64,
            max_deliveries: 8,
            backoff: Backoff::default(),
            handler_limit: Duration::from_secs(30),
            unclaimed_limit: Duration::from_secs(60 * 60),
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
            .field("unclaimed_limit", &self.unclaimed_limit)
            .finish_non_exhaustive()
    }
}

/// Is told of every attempt to handle an event; it must return quickly.
pub type Observer = Arc<dyn Fn(&Processed<'_>) + Send + Sync>;

/// An attempt to handle an event.
#[derive(Debug, Clone, Copy)]
pub struct Processed<'a> {
    /// The group.
    pub group: &'a str,
    /// The type of the event.
    pub kind: &'a str,
    /// Which delivery or attempt it was, from 1.
    pub attempt: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was handled.
    Handled,
    /// It had been handled before, or its type is left out; nothing was done.
    Duplicate,
    /// It waits in the service's database: for an earlier one of its key, for a version of the service that has a
    /// handler for it, or because it was delivered often.
    Held,
    /// It failed and is tried again.
    Retried,
    /// It failed for good.
    DeadLettered,
    /// It was too late to handle it.
    Expired,
}

/// Handles the events of `group` until `shutdown`, and then finishes what it has begun.
///
/// While the bus does not answer, it backs off and goes on trying; what it has taken over before is handled
/// meanwhile.
///
/// # Errors
/// [`Error::InvalidPattern`](crate::Error::InvalidPattern), when `handlers` names what is no type, and
/// [`Error::Database`](crate::Error::Database), when its tables cannot be made.
pub async fn run(
    db: Database,
    bus: Arc<dyn Bus>,
    group: &str,
    handlers: Handlers,
    options: Options,
    shutdown: CancellationToken,
) -> Result<()> {
    let types = handlers.types();
    types.iter().try_for_each(|wanted| pattern::check(wanted))?;
    // A child, so that one half ends when the other cannot go on.
    let shutdown = shutdown.child_token();
    let consumer = Consumer {
        db,
        group,
        handlers,
        options,
        shutdown: shutdown.clone(),
    };
    let prepared = CancellationToken::new();
    // Boxed, for both are large, and whoever awaits this should not be.
    let driving = Box::pin(async {
        let preparing = consumer.patiently("prepare its tables", || Box::pin(consumer.prepare()));
        if preparing.await?.is_some() {
            prepared.cancel();
            consumer.drive().await;
        }
        Ok(())
    });
    let consuming = Box::pin(async {
        let joining = consumer.patiently("subscribe", || bus.subscribe(group, &types));
        let (joined, _) = tokio::join!(joining, shutdown.run_until_cancelled(prepared.cancelled()));
        let Some(subscription) = joined? else {
            return Ok(());
        };
        let leaving = consumer.patiently("leave out types", || {
            Box::pin(consumer.leave_out(bus.as_ref(), &types))
        });
        if leaving.await?.is_some() {
            consume(&consumer, subscription.as_ref()).await;
        }
        Ok(())
    });
    let either = |half: Result<()>| half.inspect_err(|_| shutdown.cancel());
    let (drove, consumed) = tokio::join!(driving.map(either), consuming.map(either));
    drove.and(consumed)
}

impl Consumer<'_> {
    async fn prepare(&self) -> Result<()> {
        deferred::install(&self.db).await?;
        let mut tx = self.db.begin().await?;
        deferred::release_all(&mut tx, self.group).await?;
        Ok(tx.commit().await?)
    }

    /// Leaves out what the handlers say, but for what others of them are for.
    async fn leave_out(&self, bus: &dyn Bus, types: &[String]) -> Result<()> {
        let is_over = |pattern: &&String| !types.contains(pattern);
        let left_out = self.handlers.left_out().iter().filter(is_over);
        let left_out: Vec<String> = left_out.cloned().collect();
        if left_out.is_empty() {
            return Ok(());
        }
        bus.leave_out(self.group, &left_out).await?;
        // After that, so that what comes once they are wanted again is not taken for late.
        sequence::forget_types(&self.db, self.group, &left_out).await
    }

    /// Tries until it succeeds; `None` when told to stop first.
    async fn patiently<'a, T>(
        &'a self,
        what: &str,
        act: impl Fn() -> BoxFuture<'a, Result<T>>,
    ) -> Result<Option<T>> {
        let mut failures = 0;
        loop {
            let attempt = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(None),
                attempt = act() => attempt,
            };
            match attempt {
                Ok(done) => return Ok(Some(done)),
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => {
                    failures += 1;
                    let (group, error) = (self.group, chain(&error));
                    tracing::warn!(group, error, failures, "a consumer cannot {what} yet");
                    tokio::select! {
                        biased;
                        () = self.shutdown.cancelled() => return Ok(None),
                        () = env::sleep(self.options.backoff.delay(failures)) => {}
                    }
                }
            }
        }
    }
}

async fn consume(consumer: &Consumer<'_>, subscription: &dyn Subscription) {
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
            Some(works) = running.next() => if works {
                failures = 0;
            } else {
                failures += 1;
                not_before = env::instant() + consumer.options.backoff.delay(failures);
            },
            taken = take(subscription, free, not_before), if free > 0 => match taken {
                Ok(taken) => {
                    let process = |delivery| consumer.process(subscription, delivery);
                    running.extend(taken.into_iter().map(process));
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

async fn take(
    subscription: &dyn Subscription,
    limit: usize,
    not_before: Instant,
) -> Result<Vec<Delivery>> {
    env::sleep_until(not_before).await;
    subscription.next(limit).await
}
