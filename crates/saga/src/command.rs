//! Commands, and the handlers of those who take part in sagas.
//!
//! What is guaranteed to a participant: its handler runs in a transaction with an entry in the inbox, so the command
//! takes effect once, and the reply commits with it or not at all (G1, G3). Commands of one saga come in the order in
//! which they were sent (G4).
//!
//! A command that was not done when the saga does not wait for it any more (`expirytime`) is not done then either, and the
//! saga is told so. Until then the handler has what is left of that time for a
//! [deadline](env::RequestContext::deadline).
//!
//! On the wire a command is a CloudEvent of the type `saga.<service>.<action>`. Its data is the command, its key the
//! saga's id. The extensions `sagaid`, `sagaseq` and `sagareply` say where the reply goes: an event of the type that
//! `sagareply` names, with the same `sagaid` and `sagaseq`, whose data is `{"done": <reply>}` or
//! `{"refused": {"code": "…", "detail": "…"}}`.

use std::{fmt, future::Future, marker::PhantomData, sync::Arc};

use data::Transaction;
use env::BoxError;
use events::{CloudEvent, Handlers, JsonSchema};
use futures::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Failure,
    local::Local,
    wire::{self, Reply, ReplyTo},
};

/// Something that a service does when a saga asks for it. Derived where the command is defined:
///
/// ```
/// # use outrigger_saga as saga;
/// use events::{JsonSchema, schemars};
/// use saga::{Command, command};
///
/// #[derive(serde::Serialize, serde::Deserialize, JsonSchema, Command)]
/// #[command("inventory-service", "reserve-items", reply = Vec<String>, crate = saga)]
/// struct ReserveItems { order_id: String }
///
/// assert_eq!(command::topic::<ReserveItems>(), "saga.inventory-service.reserve-items");
/// ```
///
/// Where `outrigger` is a dependency, `crate = ..` is not needed.
///
/// A command and its reply have JSON Schemas, for the two services are not replaced at the same moment.
pub trait Command: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The service that does it.
    const SERVICE: &'static str;
    /// What it does, in kebab case.
    const ACTION: &'static str;
    /// What it answers when it has done it.
    type Reply: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
}

/// The type of the event that carries the command.
pub fn topic<C: Command>() -> String {
    wire::topic(C::SERVICE, C::ACTION)
}

/// Why a command was not done.
///
/// A [`Failure`] turns into a refusal and any error into a failure, both by `?`. (For that it is no error itself.)
#[derive(Debug)]
pub enum Error {
    /// The business says no. What the handler wrote commits, and the saga is told why.
    Refused(Failure),
    /// Something broke. What the handler wrote is rolled back, and the command comes again.
    Failed(BoxError),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl<E: Into<BoxError>> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(failure) => write!(f, "refused: {failure}"),
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

/// Handles a `C` in a transaction: any `async fn(&mut Transaction, C) -> Result<C::Reply, Error>`.
///
/// It is a trait of its own because the future borrows the transaction, which a bound of `Fn` cannot say.
pub trait Handler<'a, C: Command>: Send + Sync + 'static {
    /// What the handler does.
    type Future: Future<Output = Result<C::Reply, Error>> + Send + 'a;

    /// Starts it.
    fn handle(&self, tx: &'a mut Transaction, command: C) -> Self::Future;
}

impl<'a, C, F, Fut> Handler<'a, C> for F
where
    C: Command,
    F: Fn(&'a mut Transaction, C) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C::Reply, Error>> + Send + 'a,
{
    type Future = Fut;

    fn handle(&self, tx: &'a mut Transaction, command: C) -> Fut {
        self(tx, command)
    }
}

/// Handles a `C` with what was prepared for it before the transaction:
/// any `async fn(&mut Transaction, C, P) -> Result<C::Reply, Error>`.
pub trait PreparedHandler<'a, C: Command, P>: Send + Sync + 'static {
    /// What the handler does.
    type Future: Future<Output = Result<C::Reply, Error>> + Send + 'a;

    /// Starts it.
    fn handle(&self, tx: &'a mut Transaction, command: C, prepared: P) -> Self::Future;
}

impl<'a, C, P, F, Fut> PreparedHandler<'a, C, P> for F
where
    C: Command,
    F: Fn(&'a mut Transaction, C, P) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C::Reply, Error>> + Send + 'a,
{
    type Future = Fut;

    fn handle(&self, tx: &'a mut Transaction, command: C, prepared: P) -> Fut {
        self(tx, command, prepared)
    }
}

/// Adds `handler` for the command `C` to `handlers`. Where the service has sagas that call it too, use
/// [`Sagas::command`](crate::Sagas::command).
#[must_use]
pub fn handle<C, H>(handlers: Handlers, handler: H) -> Handlers
where
    C: Command,
    H: for<'a> Handler<'a, C>,
{
    add(handlers, Answering::<C, H>::new(handler))
}

pub(crate) fn add<C, H>(handlers: Handlers, answering: Arc<Answering<C, H>>) -> Handlers
where
    C: Command,
    H: for<'a> Handler<'a, C>,
{
    handlers
        .on_raw(&topic::<C>(), Participant(answering))
        .or_expired(TooLate::Plain)
}

/// Adds a handler in two steps: `prepare` with the command and its id, then `handler` in the transaction with what
/// came of that.
///
/// Calls to the outside belong into `prepare`, for a transaction awaits nothing but its own statements. It may run more
/// than once for a command, even after the command was handled: make it idempotent by the id.
#[must_use]
pub fn handle_prepared<C, P, F, Fut, H>(handlers: Handlers, prepare: F, handler: H) -> Handlers
where
    C: Command + Clone,
    P: Send + 'static,
    F: Fn(C, String) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<P, BoxError>> + Send + 'static,
    H: for<'a> PreparedHandler<'a, C, P>,
{
    let prepare = Arc::new(prepare);
    let prepare = move |event: CloudEvent| {
        let prepare = Arc::clone(&prepare);
        async move {
            let command: C = event.data_as()?;
            let prepared = prepare(command.clone(), event.id).await?;
            Ok((command, prepared))
        }
    };
    handlers
        .on_raw_prepared(
            &topic::<C>(),
            prepare,
            Participant(Answering::<C, H>::new(handler)),
        )
        .or_expired(TooLate::Prepared)
}

/// A handler of commands as a handler of events: it replies.
struct Participant<C, H>(Arc<Answering<C, H>>);

/// A handler of commands whose answer is on its way to a saga.
pub(crate) struct Answering<C, H> {
    handler: H,
    command: PhantomData<fn() -> C>,
}

impl<C, H> Answering<C, H> {
    pub(crate) fn new(handler: H) -> Arc<Self> {
        let command = PhantomData;
        Arc::new(Self { handler, command })
    }
}

impl<C, H> Local for Answering<C, H>
where
    C: Command,
    H: for<'tx> Handler<'tx, C>,
{
    fn handle<'a>(
        &'a self,
        tx: &'a mut Transaction,
        command: &'a CloudEvent,
    ) -> BoxFuture<'a, Result<Reply, BoxError>> {
        async move { reply::<C>(self.handler.handle(tx, command.data_as()?).await) }.boxed()
    }
}

impl<'a, C, H> events::Handler<'a, CloudEvent> for Participant<C, H>
where
    C: Command,
    H: for<'tx> Handler<'tx, C>,
{
    type Future = BoxFuture<'a, Result<(), BoxError>>;

    fn handle(&self, tx: &'a mut Transaction, event: CloudEvent) -> Self::Future {
        let answering = Arc::clone(&self.0);
        async move {
            let reply_to = ReplyTo::of(&event)?;
            let reply = answering.handle(&mut *tx, &event).await?;
            send(tx, reply_to, reply)
        }
        .boxed()
    }
}

impl<'a, C, P, H> events::PreparedHandler<'a, CloudEvent, (C, P)> for Participant<C, H>
where
    C: Command,
    P: Send + 'static,
    H: for<'tx> PreparedHandler<'tx, C, P>,
{
    type Future = BoxFuture<'a, Result<(), BoxError>>;

    fn handle(
        &self,
        tx: &'a mut Transaction,
        event: CloudEvent,
        (command, prepared): (C, P),
    ) -> Self::Future {
        let answering = Arc::clone(&self.0);
        async move {
            let reply_to = ReplyTo::of(&event)?;
            let result = answering.handler.handle(&mut *tx, command, prepared).await;
            send(tx, reply_to, reply::<C>(result)?)
        }
        .boxed()
    }
}

/// Tells the saga of a command that has expired before it was handled.
pub(crate) enum TooLate {
    /// What it does it does in its transaction: so it was not done.
    Plain,
    /// An attempt that nobody knows of may have asked the outside: it must be undone.
    Prepared,
}

impl<'a> events::Handler<'a, CloudEvent> for TooLate {
    type Future = BoxFuture<'a, Result<(), BoxError>>;

    fn handle(&self, tx: &'a mut Transaction, event: CloudEvent) -> Self::Future {
        let failure = match self {
            Self::Plain => Failure::expired(&event.kind),
            Self::Prepared => Failure::timeout(&event.kind),
        };
        async move {
            let (kind, id, key) = (&event.kind, &event.id, event.key());
            tracing::warn!(kind, id, key, "a command came too late and is not done");
            match ReplyTo::of(&event)? {
                Some(reply_to) => Ok(reply_to.send(tx, Reply::Refused(failure))?),
                None => Ok(()),
            }
        }
        .boxed()
    }
}

/// What is answered to a command; an error rolls back what was done.
fn reply<C: Command>(result: Result<C::Reply, Error>) -> Result<Reply, BoxError> {
    match result {
        Ok(reply) => Ok(Reply::Done(serde_json::to_value(reply)?)),
        Err(Error::Refused(failure)) => Ok(Reply::Refused(failure)),
        Err(Error::Failed(error)) => Err(error),
    }
}

/// Replies in the transaction of the handler.
fn send(tx: &mut Transaction, to: Option<ReplyTo>, reply: Reply) -> Result<(), BoxError> {
    match to {
        Some(to) => Ok(to.send(tx, reply)?),
        None => Ok(()),
    }
}
