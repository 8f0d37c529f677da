//! Local calls: a command of the saga's own service is done in the transaction of the step that calls it.
//!
//! What is guaranteed is what is guaranteed of a command that is sent: it takes effect once, together with the line of the
//! journal that says how it was answered, and after those that the saga sent before it. A handler that fails, panics or
//! takes long takes nothing with it: what it wrote is undone, and the command is sent.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Weak, time::Duration};

use data::Transaction;
use env::{BoxError, RequestContext};
use events::CloudEvent;
use futures::{FutureExt, future::BoxFuture};
use tracing::Instrument;

use crate::{Entry, Error, Result, store::Record, wire::Reply};

/// A step makes so many local calls; those that follow are sent. It bounds how long its transaction takes.
const CALLS: u32 = 16;
/// How long a handler may take. One that takes longer has its command sent, and then the time of any handler.
const LIMIT: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// The saga whose step makes a local call.
    static STEPPING: String;
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

/// The handlers of a service, by the types of their commands, while they are there: a handler may know the sagas that know
/// it.
pub(crate) type Commands = BTreeMap<String, Weak<dyn Local>>;

/// The local calls of one transaction.
pub(crate) struct LocalCalls<'a> {
    commands: &'a Commands,
    left: u32,
}

impl<'a> LocalCalls<'a> {
    pub(crate) fn new(commands: &'a Commands) -> Self {
        // Within a local call, a saga that its handler starts sends all that it has to say.
        let nested = STEPPING.try_with(|_| ()).is_ok();
        Self {
            commands,
            left: if nested { 0 } else { CALLS },
        }
    }

    /// Makes the call at `seq`; its answer. `None` where the command has to be sent.
    pub(crate) async fn make(
        &mut self,
        tx: &mut Transaction,
        record: &Record,
        seq: u32,
        command: &CloudEvent,
    ) -> Result<Option<Entry>> {
        let Some(handler) = self.commands.get(&command.kind).and_then(Weak::upgrade) else {
            return Ok(None);
        };
        let expired = command.time_left().is_some_and(|left| left.is_zero());
        if self.left == 0 || expired {
            return Ok(None);
        }
        self.left -= 1;
        let before = tx.savepoint();
        let error = match handle(tx, record, &*handler, command).await {
            Ok(reply) => return Ok(Some(reply.entry(seq))),
            Err(error) => error,
        };
        tracing::warn!(
            saga = record.saga,
            id = record.id,
            command = command.kind,
            error = env::chain(error.as_ref()),
            "a local call failed: its command is sent"
        );
        match tx.rollback_to(before).await {
            Ok(()) => Ok(None),
            Err(_) => Err(Error::Local {
                command: command.kind.clone(),
                source: error,
            }),
        }
    }
}

/// Has the handler do a command, as the request of the saga, for as long as it may take; survives its panic.
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
    let work = async {
        let reply = handler.handle(&mut *tx, command).await?;
        // What it put off, or failed at without saying so, is its failure and not that of the step.
        tx.catch_up().await?;
        Ok(reply)
    };
    let work = context.scope(work).instrument(span);
    let work = STEPPING.scope(record.id.clone(), work);
    match AssertUnwindSafe(env::timeout(LIMIT, work))
        .catch_unwind()
        .await
    {
        Ok(answered) => answered?,
        Err(_) => Err("the handler panicked".into()),
    }
}

/// Refuses to change a saga whose step makes a local call: that step would overwrite it.
pub(crate) fn refuse_reentry(id: &str) -> Result<()> {
    match STEPPING.try_with(|stepping| stepping == id) {
        Ok(true) => Err(Error::UnderWay { id: id.to_owned() }),
        _ => Ok(()),
    }
}
