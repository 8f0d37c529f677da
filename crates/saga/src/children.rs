//! Child sagas: commands of a service to itself, whose reply is the end of a saga.
//!
//! So a child is started, answered and undone as any step is: by messages through the outbox, each in a transaction
//! of its own, which holds no other saga whose order another could cross.

use data::Transaction;
use env::{BoxError, RequestContext};
use events::{CloudEvent, Handlers};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use telemetry::propagation;

use crate::{
    Entry, Failure, ID_LIMIT, Result, Sagas, State,
    command::TooLate,
    journal,
    step::Progress,
    store::{self, Parent, Record},
    wire::{self, Reply, ReplyTo},
};

/// What a child is to be.
#[derive(Serialize, Deserialize)]
struct Start {
    saga: String,
    input: Value,
}

/// Where a child was started that is to be undone.
#[derive(Serialize, Deserialize)]
struct Revert {
    of: u32,
}

fn start_topic(service: &str) -> String {
    wire::topic(service, "start-child")
}

fn revert_topic(service: &str) -> String {
    wire::topic(service, "revert-child")
}

fn child_id(parent: &str, seq: u32) -> String {
    format!("{parent}/{seq}")
}

/// The command that starts a child.
pub(crate) fn start(
    parent: &str,
    seq: u32,
    saga: &str,
    input: &Value,
    service: &str,
) -> CloudEvent {
    let data = json!({ "saga": saga, "input": input });
    wire::command(parent, seq, &start_topic(service), data, service)
}

/// The command that has a child undone.
pub(crate) fn revert(parent: &str, seq: u32, of: u32, service: &str) -> CloudEvent {
    let data = json!({ "of": of });
    wire::command(parent, seq, &revert_topic(service), data, service)
}

/// Tells the parent of the end of a child.
pub(crate) fn report(
    tx: &mut Transaction,
    parent: &Parent,
    failure: Option<&Failure>,
) -> events::Result<()> {
    let reply = match failure {
        Some(failure) if !parent.reverting => Reply::Refused(failure.clone()),
        _ => Reply::Done(Value::Null),
    };
    ReplyTo::step(tx.owner(), &parent.id, parent.seq).send(tx, reply)
}

/// Adds the handlers of these commands.
pub(crate) fn handlers(sagas: &Sagas, service: &str, handlers: Handlers) -> Handlers {
    handlers
        .on_raw(&start_topic(service), Starting(sagas.clone()))
        .or_expired(TooLate::Plain)
        .on_raw(&revert_topic(service), Reverting(sagas.clone()))
}

struct Starting(Sagas);

impl<'a> events::Handler<'a, CloudEvent> for Starting {
    type Future = BoxFuture<'a, Result<(), BoxError>>;

    fn handle(&self, tx: &'a mut Transaction, event: CloudEvent) -> Self::Future {
        let sagas = self.0.clone();
        async move {
            let Some(reply_to) = ReplyTo::of(&event)? else {
                return Ok(());
            };
            let Start { saga, input } = event.data_as()?;
            let (parent, seq) = reply_to.waits();
            let id = child_id(parent, seq);
            let known = store::known(tx, &id).await?;
            if id.len() > ID_LIMIT || known.is_some() {
                let why = match known {
                    // Its parent has given it up, and that came first.
                    Some(_) => Failure::new("withdrawn", "The saga is not wanted any more."),
                    None => Failure::new("too-deep", format!("The id `{id}` is too long.")),
                };
                return Ok(reply_to.send(tx, Reply::Refused(why))?);
            }
            let record = Record {
                input: input.to_string(),
                parent: Some(Parent {
                    id: parent.to_owned(),
                    seq,
                    reverting: false,
                }),
                deadline: event.expirytime,
                ..record(id, saga)
            };
            Ok(sagas.begin(tx, record).await?)
        }
        .boxed()
    }
}

struct Reverting(Sagas);

impl<'a> events::Handler<'a, CloudEvent> for Reverting {
    type Future = BoxFuture<'a, Result<(), BoxError>>;

    fn handle(&self, tx: &'a mut Transaction, event: CloudEvent) -> Self::Future {
        let sagas = self.0.clone();
        async move {
            let Some(reply_to) = ReplyTo::of(&event)? else {
                return Ok(());
            };
            let Revert { of } = event.data_as()?;
            let (parent, seq) = reply_to.waits();
            let id = child_id(parent, of);
            let reply = match store::known(tx, &id).await? {
                None => {
                    // A mark, by which the child is refused should it come later.
                    let mark = record(id, "withdrawn".to_owned());
                    store::insert(tx, &mark).await?;
                    let failure = Failure::cancelled("The saga was never begun.");
                    store::update(tx, &mark, &Progress::Compensated(failure)).await?;
                    Reply::Done(Value::Null)
                }
                Some(State::Compensated) => Reply::Done(Value::Null),
                Some(_) if journal::is_past_return(&store::journal(tx, &id).await?) => {
                    Reply::Refused(Failure::new(
                        "past-return",
                        format!("Saga {id} is past its point of no return."),
                    ))
                }
                Some(_) => {
                    store::revert(tx, &id, seq).await?;
                    let failure = Failure::cancelled("The saga that it was a step of failed.");
                    return Ok(sagas.hear(tx, &id, Entry::Cancelled { failure }).await?);
                }
            };
            Ok(reply_to.send(tx, reply)?)
        }
        .boxed()
    }
}

fn record(id: String, saga: String) -> Record {
    Record {
        id,
        saga,
        input: Value::Null.to_string(),
        correlation_id: RequestContext::current().correlation_id,
        traceparent: propagation::traceparent(),
        parent: None,
        deadline: None,
        epoch: 0,
    }
}
