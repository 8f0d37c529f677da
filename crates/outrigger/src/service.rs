//! The description of one service, as a value.

use std::{future::Future, sync::Arc};

use axum::Router;
use data::Migration;
use env::BoxError;
use events::{CloudEvent, Event, Handlers};
use eventsourcing::Projection;
use saga::{Command, Failure, Input, Saga, Sagas, command};

use crate::{
    Boundary, Context,
    handler::{Bound, CommandHandler, EventHandler, PreparedHandler},
    messages::{Message, Messages},
};

type Subscribe = dyn Fn(Context, Handlers) -> Handlers + Send + Sync;
type Register = dyn Fn(&Sagas) + Send + Sync;

/// A service: its boundary, its tables, its API, and what it does when something happens.
///
/// Cloning is cheap, and a description can be started any number of times.
#[derive(Clone)]
pub struct Service {
    name: Arc<str>,
    version: Arc<str>,
    boundary: Arc<Boundary>,
    migrations: &'static [Migration],
    messages: Messages,
    routes: Router<Context>,
    subscriptions: Vec<Arc<Subscribe>>,
    sagas: Vec<Arc<Register>>,
    projections: Vec<Arc<dyn Projection>>,
}

impl Service {
    /// A service that does nothing yet. The name is a DNS label, such as `order-service`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            version: "0.0.0".into(),
            boundary: Arc::default(),
            migrations: &[],
            messages: Messages::default(),
            routes: Router::new(),
            subscriptions: Vec::new(),
            sagas: Vec::new(),
            projections: Vec::new(),
        }
    }

    /// Sets the version, by semantic versioning.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }

    /// Declares what the service is for, what is its own, and whom it calls.
    #[must_use]
    pub fn boundary(mut self, boundary: Boundary) -> Self {
        self.boundary = Arc::new(boundary);
        self
    }

    /// The changes that make its tables, the oldest first.
    #[must_use]
    pub fn migrations(mut self, migrations: &'static [Migration]) -> Self {
        self.migrations = migrations;
        self
    }

    /// Its HTTP API.
    #[must_use]
    pub fn routes(mut self, routes: Router<Context>) -> Self {
        self.routes = self.routes.merge(routes);
        self
    }

    /// Declares that the service publishes `E`. It is refused to publish what it has not declared.
    #[must_use]
    pub fn publishes<E: Event>(mut self) -> Self {
        self.messages.published.push(Message::event::<E>());
        self
    }

    /// Handles an event: `async fn(Context, &mut Transaction, E) -> Result<(), BoxError>`.
    ///
    /// The handler runs in a transaction that records the event as handled, so that its effects happen once
    /// however often the event is delivered (G3). An error rolls back, and the event comes again.
    #[must_use]
    pub fn on<E, H>(mut self, handler: H) -> Self
    where
        E: Event,
        H: for<'a> EventHandler<'a, E>,
    {
        self.messages.handled.push(Message::event::<E>());
        self.subscribe(move |ctx, handlers| {
            handlers.on::<E, _>(Bound {
                ctx,
                handler: handler.clone(),
            })
        })
    }

    /// Handles every event whose type matches `pattern`, exact or `order.*`, as it came.
    #[must_use]
    pub fn on_raw<H>(mut self, pattern: &'static str, handler: H) -> Self
    where
        H: for<'a> EventHandler<'a, CloudEvent>,
    {
        self.messages.patterns.push(pattern);
        self.subscribe(move |ctx, handlers| {
            handlers.on_raw(
                pattern,
                Bound {
                    ctx,
                    handler: handler.clone(),
                },
            )
        })
    }

    /// Leaves out the events that an earlier version of the service handled with exactly this type or `pattern`, for good.
    /// Without it they come all the same, and wait for a version that handles them ([`Handlers::without`]).
    #[must_use]
    pub fn without(self, pattern: &'static str) -> Self {
        self.subscribe(move |_, handlers| handlers.without(pattern))
    }

    /// Lets later events of its key pass one that the handler added last could not handle. Without it they wait
    /// until that one is handled, replayed or dropped ([`Handlers::or_skip`]).
    #[must_use]
    pub fn or_skip(mut self) -> Self {
        if let Some(last) = self.subscriptions.pop() {
            self.subscriptions
                .push(Arc::new(move |ctx, handlers| last(ctx, handlers).or_skip()));
        }
        self
    }

    /// Handles a command of a saga: `async fn(Context, &mut Transaction, C) -> Result<C::Reply, command::Error>`.
    ///
    /// The reply commits with what the handler wrote. A refusal commits too; any other error rolls back, and
    /// the command comes again. Where a saga of this service calls it, it runs in the transaction of the saga's step
    /// ([`Sagas::command`]).
    #[must_use]
    pub fn command<C, H>(mut self, handler: H) -> Self
    where
        C: Command,
        H: for<'a> CommandHandler<'a, C>,
    {
        self.messages.commands.extend(Message::command::<C>());
        self.subscribe(move |ctx, handlers| {
            let sagas = ctx.sagas().clone();
            let handler = handler.clone();
            sagas.command::<C, _>(handlers, Bound { ctx, handler })
        })
    }

    /// Handles a command in two steps: `prepare`, an `async fn(Context, C, String) -> Result<P, BoxError>` with
    /// the command's id, then `handler` in the transaction with what came of that.
    ///
    /// Calls to the outside belong into `prepare`. It may run more than once: make it idempotent by the id.
    #[must_use]
    pub fn command_prepared<C, P, F, Fut, H>(mut self, prepare: F, handler: H) -> Self
    where
        C: Command + Clone,
        P: Send + 'static,
        F: Fn(Context, C, String) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<P, BoxError>> + Send + 'static,
        H: for<'a> PreparedHandler<'a, C, P>,
    {
        self.messages.commands.extend(Message::command::<C>());
        self.subscribe(move |ctx, handlers| {
            let (prepare, surroundings) = (prepare.clone(), ctx.clone());
            command::handle_prepared::<C, P, _, _, _>(
                handlers,
                move |command, id| prepare(surroundings.clone(), command, id),
                Bound {
                    ctx,
                    handler: handler.clone(),
                },
            )
        })
    }

    /// Adds a saga that the service can start: an `async fn(Saga, I) -> Result<(), Failure>`.
    #[must_use]
    pub fn saga<I, F, Fut>(mut self, function: F) -> Self
    where
        I: Input,
        F: Fn(Saga, I) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.messages.sagas.push(I::SAGA);
        self.sagas
            .push(Arc::new(move |sagas| sagas.register(function.clone())));
        self
    }

    /// Lets its sagas [wait for](saga::Saga::wait_for) events `E`: each is given to the saga whose id is the event's key, or
    /// that waits for this key.
    #[must_use]
    pub fn signal<E: Event>(self) -> Self {
        self.signal_by::<E>(E::key)
    }

    /// As [`signal`](Self::signal), by something else of the event than its key.
    #[must_use]
    pub fn signal_by<E: Event>(mut self, key: fn(&E) -> String) -> Self {
        self.messages.handled.push(Message::event::<E>());
        self.subscribe(move |ctx, handlers| ctx.sagas().signal_handler(handlers, key))
    }

    /// Keeps a read model up to date with the service's event store. Its tables are there before the service is
    /// reached; a raised version of it is built while the old one is read
    /// ([`projection`](eventsourcing::projection)).
    #[must_use]
    pub fn projection(mut self, projection: impl Projection) -> Self {
        self.projections.push(Arc::new(projection));
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version.
    pub fn declared_version(&self) -> &str {
        &self.version
    }

    /// Its boundary.
    pub fn declared_boundary(&self) -> &Boundary {
        &self.boundary
    }

    /// What it says and what it is told.
    pub fn declared_messages(&self) -> &Messages {
        &self.messages
    }

    pub(crate) fn shared_boundary(&self) -> Arc<Boundary> {
        Arc::clone(&self.boundary)
    }

    pub(crate) fn declared_migrations(&self) -> &'static [Migration] {
        self.migrations
    }

    pub(crate) fn declared_routes(&self) -> Router<Context> {
        self.routes.clone()
    }

    /// What was declared by [`projection`](Self::projection).
    pub fn projections(&self) -> &[Arc<dyn Projection>] {
        &self.projections
    }

    pub(crate) fn register_sagas(&self, sagas: &Sagas) {
        self.sagas.iter().for_each(|register| register(sagas));
    }

    /// Adds the service's handlers, with their context, to `handlers`.
    pub(crate) fn handlers(&self, context: &Context, handlers: Handlers) -> Handlers {
        self.subscriptions
            .iter()
            .fold(handlers, |handlers, subscribe| {
                subscribe(context.clone(), handlers)
            })
    }

    fn subscribe(
        mut self,
        subscribe: impl Fn(Context, Handlers) -> Handlers + Send + Sync + 'static,
    ) -> Self {
        self.subscriptions.push(Arc::new(subscribe));
        self
    }
}
