//! The sagas of a service: starting them, hearing of their steps, waiting for their end.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use data::{Database, Transaction};
use env::{BoxError, RequestContext, Timestamp};
use events::{CloudEvent, Handlers};
use futures::{FutureExt, future::BoxFuture};
use telemetry::propagation;
use tokio_util::sync::CancellationToken;

use crate::{
    Definition, Entry, Error, Failure, Input, Outcome, Result, Saga, State, Status,
    driver::{self, Definitions},
    step::Progress,
    store::{self, Record},
    timers,
    waiting::Waiting,
    wire,
};

/// The most bytes that the id of a saga may have.
pub const ID_LIMIT: usize = 256;
/// How many sagas are deleted in one transaction, so that forgetting holds nobody up.
const FORGET_BATCH: u32 = 200;

/// The sagas of the service whose database it is. Cheap to clone.
#[derive(Clone)]
pub struct Sagas {
    db: Database,
    definitions: Arc<Mutex<Arc<Definitions>>>,
    waiting: Waiting,
}

impl Sagas {
    /// The sagas in `db`, whose tables are made if need be. The service is the [owner](Database::owned_by) of `db`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn open(db: Database) -> Result<Self> {
        db.migrate_part("saga", store::MIGRATIONS).await?;
        Ok(Self {
            waiting: Waiting::new(db.clone()),
            db,
            definitions: Arc::default(),
        })
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
        let earlier = Arc::make_mut(&mut self.definitions()).insert(name, definition);
        assert!(earlier.is_none(), "there are two sagas named `{name}`");
    }

    fn definitions(&self) -> MutexGuard<'_, Arc<Definitions>> {
        self.definitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a saga when `tx` commits; its first commands are sent with that commit.
    ///
    /// # Errors
    /// [`Error::AlreadyStarted`], after which `tx` may go on; [`Error::NotRegistered`], [`Error::InvalidId`],
    /// [`Error::Encode`], [`Error::Database`].
    pub async fn start<I: Input>(&self, tx: &mut Transaction, id: &str, input: I) -> Result<()> {
        if id.is_empty() || id.len() > ID_LIMIT {
            return Err(Error::InvalidId {
                length: id.len(),
                limit: ID_LIMIT,
            });
        }
        let definition = self.definitions().get(I::SAGA).cloned();
        let definition = definition.ok_or_else(|| Error::NotRegistered {
            saga: I::SAGA.to_owned(),
        })?;
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
        };
        let progress = driver::start(tx, &definition, record).await?;
        self.mark(id, &progress);
        Ok(())
    }

    /// Takes what is newly known of a saga, in the transaction that says so.
    pub(crate) async fn hear(&self, tx: &mut Transaction, id: &str, news: Entry) -> Result<()> {
        let definitions = Arc::clone(&self.definitions());
        if let Some(progress) = driver::hear(tx, &definitions, id, news).await? {
            self.mark(id, &progress);
        }
        Ok(())
    }

    fn mark(&self, id: &str, progress: &Progress) {
        if !matches!(progress, Progress::Running | Progress::Compensating(_)) {
            self.waiting.mark(id);
        }
    }

    /// Adds the handler of replies to the handlers of the service.
    #[must_use]
    pub fn handlers(&self, handlers: Handlers) -> Handlers {
        let topic = wire::reply_topic(self.db.owner());
        handlers.on_raw(&topic, Replies(self.clone()))
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

    /// How far a saga is; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn status(&self, id: &str) -> Result<Option<Status>> {
        store::status(&self.db, id).await
    }

    /// The first `limit` sagas of a state, those first that nothing has happened to for the longest time.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn list(&self, state: State, limit: u32) -> Result<Vec<Status>> {
        store::list(&self.db, state, limit).await
    }

    /// What is remembered of a saga, the earliest first; empty where there is none.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Journal`].
    pub async fn journal(&self, id: &str) -> Result<Vec<Entry>> {
        store::read_journal(&self.db, id).await
    }

    /// Has a parked saga go on: the function is run again, or the undo that hangs is sent again.
    ///
    /// A saga that is not parked simply goes on. What still does not fit parks it again.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ended`], [`Error::Database`].
    pub async fn resume(&self, id: &str) -> Result<()> {
        let status = self.status(id).await?;
        let state = status
            .ok_or_else(|| Error::NotFound { id: id.to_owned() })?
            .state;
        if state.is_end() {
            let id = id.to_owned();
            return Err(Error::Ended { id, state });
        }
        let mut tx = self.db.begin().await?;
        self.hear(&mut tx, id, Entry::Resumed).await?;
        Ok(tx.commit().await?)
    }

    /// Deletes the sagas that ended before `before`; how many. What goes on, or is parked, stays.
    ///
    /// Keep them as long as somebody may ask for them, or repeat the request that started one.
    ///
    /// # Errors
    /// [`Error::Database`]; what was deleted until then stays so.
    pub async fn forget(&self, before: Timestamp) -> Result<usize> {
        let mut forgotten = 0;
        loop {
            let mut tx = self.db.begin().await?;
            let deleted = store::forget(&mut tx, before, FORGET_BATCH).await?;
            tx.commit().await?;
            forgotten += deleted;
            if deleted < FORGET_BATCH as usize {
                return Ok(forgotten);
            }
        }
    }
}

impl fmt::Debug for Sagas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sagas")
            .field("db", &self.db)
            .field("definitions", &self.definitions().keys())
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
