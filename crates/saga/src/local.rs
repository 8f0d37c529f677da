//! Local calls: a command of the saga's own service is done in the transaction of the step that calls it.
//!
//! What is guaranteed is what is guaranteed of a command that is sent: it takes effect once, together with the line of the
//! journal that says how it was answered, and after those that the saga sent before it. A handler that fails, panics or
//! takes long takes nothing with it: what it wrote is undone, and the command is sent. Where the whole transaction fails
//! over that, because the database does not let go of what the handler asked, the next attempt at the step sends the command.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use data::Transaction;
use env::{BoxError, Instant, RequestContext, Timestamp};
use events::{
    CloudEvent,
    consumer::{Observer, Outcome, Processed},
};
use futures::{FutureExt, future::BoxFuture};
use tracing::Instrument;

use crate::{Entry, Error, Result, journal, store::Record, wire::Reply};

/// A transaction makes so many local calls; those that follow are sent. It bounds how long a saga without an end goes on in it.
const CALLS: u32 = 16;
/// How long the local calls of a transaction may take together. What is not done by then is sent, and its handler has the time of any.
const LIMIT: Duration = Duration::from_secs(5);
/// For how long a command is sent whose handler took longer.
const PAUSE: Duration = Duration::from_mins(1);

tokio::task_local! {
    /// The saga whose step makes a local call.
    static STEPPING: Arc<Stepping>;
}

struct Stepping {
    saga: String,
    /// Whether the handler has tried to change it.
    reentered: AtomicBool,
}

/// A handler of commands that can do them in the transaction of a step.
pub(crate) trait Local: Send + Sync {
    /// Does a command; what is answered. After an error the transaction is to be rolled back.
    fn handle<'a>(
        &'a self,
        tx: &'a mut Transaction,
        command: &'a CloudEvent,
    ) -> BoxFuture<'a, Result<Reply, BoxError>>;
}

/// The handlers of a service, by the types of their commands.
pub(crate) type Commands = BTreeMap<String, Arc<LocalHandler>>;

/// A handler of this process.
pub(crate) struct LocalHandler {
    /// While it is there: it may know the sagas that know it.
    handler: Weak<dyn Local>,
    /// Until when its commands are sent, in milliseconds since 1970.
    sent_until: AtomicI64,
}

impl LocalHandler {
    pub(crate) fn new(handler: Weak<dyn Local>) -> Arc<Self> {
        let sent_until = AtomicI64::new(0);
        Arc::new(Self {
            handler,
            sent_until,
        })
    }

    fn handler(&self) -> Option<Arc<dyn Local>> {
        let is_sent = env::now().as_millisecond() < self.sent_until.load(Ordering::Relaxed);
        self.handler.upgrade().filter(|_| !is_sent)
    }

    fn pause(&self) {
        let until = env::now().saturating_add(PAUSE);
        let until = until.unwrap_or(Timestamp::MAX).as_millisecond();
        self.sent_until.store(until, Ordering::Relaxed);
    }
}

/// The local calls of one transaction.
pub(crate) struct LocalCalls<'a> {
    commands: &'a Commands,
    observer: Option<&'a Observer>,
    left: u32,
    until: Instant,
}

impl<'a> LocalCalls<'a> {
    pub(crate) fn new(commands: &'a Commands, observer: Option<&'a Observer>) -> Self {
        // Within a local call, a saga that its handler starts sends all that it has to say.
        let nested = STEPPING.try_with(|_| ()).is_ok();
        Self {
            commands,
            observer,
            left: if nested { 0 } else { CALLS },
            until: env::instant() + LIMIT,
        }
    }

    /// Makes the call at `seq`, after `journal`; its answer. `None` where the command has to be sent, be it for one that is
    /// under way and must not be overtaken.
    pub(crate) async fn make(
        &mut self,
        tx: &mut Transaction,
        record: &Record,
        journal: &[Entry],
        seq: u32,
        command: &CloudEvent,
    ) -> Result<Option<Entry>> {
        let Some(local) = self.commands.get(&command.kind) else {
            return Ok(None);
        };
        let Some(handler) = local.handler() else {
            return Ok(None);
        };
        let left = self.until.saturating_duration_since(env::instant());
        let expired = command.time_left().is_some_and(|left| left.is_zero());
        if self.left == 0 || left.is_zero() || expired || journal::is_under_way(journal, tx.owner())
        {
            return Ok(None);
        }
        self.left -= 1;
        let before = tx.savepoint().await?;
        let began = env::instant();
        let handling = handle(tx, record, &*handler, command);
        let error = match AssertUnwindSafe(env::timeout(left, handling))
            .catch_unwind()
            .await
        {
            Ok(Ok(Ok(reply))) => {
                self.tell(tx.owner(), command, Outcome::Handled, began);
                return Ok(Some(reply.entry(seq)));
            }
            Ok(Ok(Err(error))) => error,
            Ok(Err(late)) => {
                local.pause();
                late.into()
            }
            Err(_) => "the handler panicked".into(),
        };
        self.tell(tx.owner(), command, Outcome::Retried, began);
        if tx.rollback_to(before).await.is_err() {
            return Err(Error::Local {
                command: command.kind.clone(),
                source: error,
            });
        }
        tracing::warn!(
            saga = record.saga,
            id = record.id,
            command = command.kind,
            error = env::chain(error.as_ref()),
            "a local call failed: its command is sent"
        );
        Ok(None)
    }

    fn tell(&self, group: &str, command: &CloudEvent, outcome: Outcome, began: Instant) {
        if let Some(observer) = self.observer {
            observer(&Processed {
                group,
                kind: &command.kind,
                attempt: 1,
                outcome,
                duration: began.elapsed(),
            });
        }
    }
}

/// Has the handler do a command, as the request of the saga.
async fn handle(
    tx: &mut Transaction,
    record: &Record,
    handler: &dyn Local,
    command: &CloudEvent,
) -> Result<Reply, BoxError> {
    let context = RequestContext::correlated(&record.correlation_id).caused_by(&command.id);
    let context = match command.time_left() {
        Some(left) => context.within(left),
        None => context,
    };
    let span = tracing::info_span!(
        "process",
        "otel.name" = format!("process {}", command.kind),
        "messaging.operation.name" = "process",
        "messaging.message.id" = command.id,
        "messaging.message.conversation_id" = record.correlation_id,
    );
    let stepping = Arc::new(Stepping {
        saga: record.id.clone(),
        reentered: AtomicBool::new(false),
    });
    let work = context
        .scope(handler.handle(&mut *tx, command))
        .instrument(span);
    let reply = STEPPING.scope(Arc::clone(&stepping), work).await?;
    // What it put off, or failed at without saying so, is its failure and not that of the step.
    tx.catch_up().await?;
    match stepping.reentered.load(Ordering::Relaxed) {
        true => Err(Error::UnderWay {
            id: record.id.clone(),
        }
        .into()),
        false => Ok(reply),
    }
}

/// Refuses to change a saga whose step makes a local call: that step would overwrite it.
pub(crate) fn refuse_reentry(id: &str) -> Result<()> {
    let refused = STEPPING.try_with(|stepping| {
        let reenters = stepping.saga == id;
        stepping.reentered.fetch_or(reenters, Ordering::Relaxed);
        reenters
    });
    match refused {
        Ok(true) => Err(Error::UnderWay { id: id.to_owned() }),
        _ => Ok(()),
    }
}
