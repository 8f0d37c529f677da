//! The sagas of a service: starting them, hearing of their steps, waiting for their end.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use data::{Database, Transaction};
use env::{BoxError, RequestContext, Timestamp};
use events::{CloudEvent, Event, Handlers, consumer::Observer};
use futures::{FutureExt, future::BoxFuture};
use telemetry::propagation;
use tokio_util::sync::CancellationToken;

use crate::{
    Command, Definition, Entry, Error, Failure, Input, Outcome, Result, Saga, children,
    command::{self, Answering},
    driver::{self, Registry},
    local::{Local, LocalHandler},
    signals,
    step::Progress,
    store::{self, Record},
    timers,
    waiting::Waiting,
    wire,
};

/// The most bytes that the id of a saga may have.
pub const ID_LIMIT: usize = 256;
/// How long a signal is kept for which no saga waits, in days, where the service [forgets](Sagas::forget) as ours do.
pub const SIGNAL_DAYS: u32 = 30;
/// How many sagas are deleted in one transaction, so that forgetting holds nobody up.
const FORGET_BATCH: u32 = 200;

/// The sagas of the service whose database it is. Cheap to clone.
#[derive(Clone)]
pub struct Sagas {
    db: Database,
    registry: Arc<Mutex<Arc<Registry>>>,
    waiting: Waiting,
}

impl Sagas {
    /// The sagas in `db`, whose tables are made if need be. The service is the [owner](Database::owned_by) of `db`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn open(db: Database) -> Result<Self> {
        db.migrate_part("saga", store::MIGRATIONS).await?;
        Ok(Self::of(db))
    }

    /// The sagas in `db`, whose tables are there.
    pub fn of(db: Database) -> Self {
        Self {
            waiting: Waiting::new(db.clone()),
            db,
            registry: Arc::default(),
        }
    }

    /// Makes a saga known: an `async fn(Saga, I) -> Result<(), Failure>`.
    ///
    /// Register all of them before anything is handled: a saga that is heard of without its function is parked.
    ///
    /// # Panics
    /// When there is one of that name already.
    pub fn register<I, F, Fut>(&self, function: F)
    where
        I: Input,
        F: Fn(Saga, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let definition = Definition::of(function);
        let name = definition.name();
        let mut registry = self.registry();
        let earlier = Arc::make_mut(&mut registry)
            .definitions
            .insert(name, definition);
        assert!(earlier.is_none(), "there are two sagas named `{name}`");
    }

    /// Adds `handler` for the command `C` to `handlers`, as [`command::handle`] does. Sagas of this service that call it
    /// have it done in the transaction of their step instead of by a message, for as long as these handlers are there.
    ///
    /// It sees what that transaction has written (a query beside it does not), and takes effect with it. Where it fails,
    /// panics or takes longer than five seconds, what it wrote is undone and the command is sent; so it is where one is
    /// under way that the saga sent before.
    #[must_use]
    pub fn command<C, H>(&self, handlers: Handlers, handler: H) -> Handlers
    where
        C: Command,
        H: for<'a> command::Handler<'a, C>,
    {
        let answering = Answering::<C, H>::new(handler);
        let local: Arc<dyn Local> = answering.clone();
        let local = LocalHandler::new(Arc::downgrade(&local));
        Arc::make_mut(&mut self.registry())
            .commands
            .insert(command::topic::<C>(), local);
        command::add(handlers, answering)
    }

    /// Tells `observer` of each command that is done in the transaction of a step, before that commits, as a consumer tells of
    /// those that are sent: it was handled, or it failed and is [retried](events::consumer::Outcome::Retried), by a message.
    pub fn observe(&self, observer: Observer) {
        Arc::make_mut(&mut self.registry()).observer = Some(observer);
    }

    fn registry(&self) -> MutexGuard<'_, Arc<Registry>> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a saga when `tx` commits; its first commands are sent with that commit.
    ///
    /// # Errors
    /// [`Error::AlreadyStarted`], after which `tx` may go on; [`Error::NotRegistered`], [`Error::InvalidId`],
    /// [`Error::Encode`], [`Error::Publish`], [`Error::Local`], [`Error::Database`].
    pub async fn start<I: Input>(&self, tx: &mut Transaction, id: &str, input: I) -> Result<()> {
        self.launch(tx, id, input, None).await
    }

    /// The same, for a saga that has `limit` to end in, as if its function began with that
    /// [deadline](crate::Saga::deadline): what a request has left is
    /// [`RequestContext::current().remaining()`](RequestContext::remaining).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_within<I: Input>(
        &self,
        tx: &mut Transaction,
        id: &str,
        input: I,
        limit: Duration,
    ) -> Result<()> {
        let deadline = env::now().saturating_add(limit);
        let deadline = deadline.unwrap_or(Timestamp::MAX);
        self.launch(tx, id, input, Some(deadline)).await
    }

    async fn launch<I: Input>(
        &self,
        tx: &mut Transaction,
        id: &str,
        input: I,
        deadline: Option<Timestamp>,
    ) -> Result<()> {
        if id.is_empty() || id.len() > ID_LIMIT || id.contains('\0') {
            return Err(Error::InvalidId {
                id: id.to_owned(),
                limit: ID_LIMIT,
            });
        }
        if !self.registry().definitions.contains_key(I::SAGA) {
            let saga = I::SAGA.to_owned();
            return Err(Error::NotRegistered { saga });
        }
        let input = serde_json::to_string(&input).map_err(|source| Error::Encode {
            id: id.to_owned(),
            source,
        })?;
        let record = Record {
            id: id.to_owned(),
            saga: I::SAGA.to_owned(),
            input,
            correlation_id: RequestContext::current().correlation_id,
            traceparent: propagation::traceparent(),
            parent: None,
            deadline,
            epoch: 0,
        };
        self.begin(tx, record).await
    }

    /// Starts a saga whose function may be unknown here: then it is parked.
    pub(crate) async fn begin(&self, tx: &mut Transaction, record: Record) -> Result<()> {
        let (registry, id) = (Arc::clone(&self.registry()), record.id.clone());
        let progress = driver::start(tx, &registry, record).await?;
        self.mark(&id, &progress);
        Ok(())
    }

    /// Takes what is newly known of a saga, in the transaction that says so.
    pub(crate) async fn hear(&self, tx: &mut Transaction, id: &str, news: Entry) -> Result<()> {
        let registry = Arc::clone(&self.registry());
        if let Some(progress) = driver::hear(tx, &registry, id, news).await? {
            self.mark(id, &progress);
        }
        Ok(())
    }

    fn mark(&self, id: &str, progress: &Progress) {
        if !matches!(progress, Progress::Running | Progress::Compensating(_)) {
            self.waiting.mark(id);
        }
    }

    /// Gives `event` to the saga that has waited longest for one of its type and `key`, when `tx` commits. Where none
    /// does, it is kept for [`SIGNAL_DAYS`] for the first that will.
    ///
    /// # Errors
    /// [`Error::InvalidKey`], [`Error::Encode`], [`Error::Database`].
    pub async fn signal<E: Event>(&self, tx: &mut Transaction, key: &str, event: &E) -> Result<()> {
        if key.contains('\0') {
            let key = key.to_owned();
            return Err(Error::InvalidKey { key });
        }
        let text = serde_json::to_string(event).map_err(|source| Error::Encode {
            id: key.to_owned(),
            source,
        })?;
        let Some(wait) = signals::bring(tx, E::TYPE, key, &text).await? else {
            return Ok(());
        };
        let data = serde_json::from_str(&text).map_err(|source| Error::Encode {
            id: key.to_owned(),
            source,
        })?;
        let seq = wait.seq;
        self.hear(tx, &wait.saga, Entry::Signalled { seq, data })
            .await
    }

    /// Adds a handler that makes signals of the events `E`, with what `key` says of each for their key.
    #[must_use]
    pub fn signal_handler<E, K>(&self, handlers: Handlers, key: K) -> Handlers
    where
        E: Event,
        K: Fn(&E) -> String + Send + Sync + 'static,
    {
        let sagas = self.clone();
        handlers.on::<E, _>(Signals { sagas, key })
    }

    /// Adds the handlers of replies, and of child sagas, to the handlers of the service.
    #[must_use]
    pub fn handlers(&self, handlers: Handlers) -> Handlers {
        let service = self.db.owner();
        let handlers = handlers.on_raw(&wire::reply_topic(service), Replies(self.clone()));
        children::handlers(self, service, handlers)
    }

    /// Acts on the timers of sagas, time-outs and sleeps, until `shutdown`.
    pub async fn run_timers(&self, shutdown: CancellationToken) {
        timers::run(self, &self.db, shutdown).await;
    }

    /// Waits for a saga to come to rest, at most for `limit`; `None` when it goes on still.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Database`].
    pub async fn wait(&self, id: &str, limit: Duration) -> Result<Option<Outcome>> {
        self.waiting.wait(id, limit).await
    }

    /// Deletes the sagas that ended before `before`, and signals that came before it and that no saga waited for; how
    /// many in all. What goes on, or is parked, stays, and so do the children of what stays.
    ///
    /// Keep them as long as somebody may ask for them, or repeat the request that started one.
    ///
    /// # Errors
    /// [`Error::Database`]; what was deleted until then stays so.
    pub async fn forget(&self, before: Timestamp) -> Result<usize> {
        let mut forgotten = 0;
        loop {
            let mut tx = self.db.begin().await?;
            let sagas = store::forget(&mut tx, before, FORGET_BATCH).await?;
            let signals = signals::forget(&mut tx, before, FORGET_BATCH).await?;
            tx.commit().await?;
            forgotten += sagas + signals;
            if sagas + signals == 0 {
                return Ok(forgotten);
            }
        }
    }

    pub(crate) fn db(&self) -> &Database {
        &self.db
    }
}

impl fmt::Debug for Sagas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sagas")
            .field("db", &self.db)
            .field("definitions", &self.registry().definitions.keys())
            .finish_non_exhaustive()
    }
}

/// Handles the replies to a service's sagas.
struct Replies(Sagas);

impl<'a> events::Handler<'a, CloudEvent> for Replies {
    type Future = BoxFuture<'a, Result<(), BoxError>>;

    fn handle(&self, tx: &'a mut Transaction, event: CloudEvent) -> Self::Future {
        let sagas = self.0.clone();
        async move {
            let (id, news) = wire::read_reply(&event)?;
            Ok(sagas.hear(tx, &id, news).await?)
        }
        .boxed()
    }
}

/// Makes signals of events.
struct Signals<K> {
    sagas: Sagas,
    key: K,
}

impl<'a, E, K> events::Handler<'a, E> for Signals<K>
where
    E: Event,
    K: Fn(&E) -> String + Send + Sync + 'static,
{
    type Future = BoxFuture<'a, Result<(), BoxError>>;

    fn handle(&self, tx: &'a mut Transaction, event: E) -> Self::Future {
        let (sagas, key) = (self.sagas.clone(), (self.key)(&event));
        async move { Ok(sagas.signal(tx, &key, &event).await?) }.boxed()
    }
}
