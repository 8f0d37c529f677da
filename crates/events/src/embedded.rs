//! The bus in process: a log in a SQLite database of its own.
//!
//! All that must survive is in the database: the log, the groups, and what each has still to handle. What is being
//! handled, and what is put off, is in memory: a restart of the process delivers that again. Subscriptions are woken
//! by what is published; nothing polls but a slow backstop.
//!
//! Deliveries are counted in the database for what was on the bus when the process started, and for what comes again:
//! the first delivery of a new event, which nearly always is the last, costs no write. So an event that ends the
//! process is counted from its second delivery on.
//!
//! Publishing is idempotent for as long as the event is in the log; see [`Options`] for how long that is.

mod group;
mod log;
mod subscription;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use data::{Database, Migration};
use env::Timestamp;
use futures::future::{self, BoxFuture};

use crate::{Bus, CloudEvent, Error, Result, Subscription, pattern};
use group::Group;
pub use subscription::Member;

const MIGRATIONS: &[Migration] = &[
    Migration::new(
        1,
        "log, groups and deliveries",
        include_str!("embedded/schema.sql"),
    ),
    Migration::new(
        2,
        "retries and dead letters are with the services",
        include_str!("embedded/schema-2.sql"),
    ),
];

/// How long a rewind waits for what is being handled: as long as handlers may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of the log is kept of what every group has handled. What is still to be handled is always kept.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// At most this many events. At least 1; default 100,000.
    pub max_events: u32,
    /// At most this old. Default 7 days.
    pub max_age: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_events: 100_000,
            max_age: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// See the [module](self). Clones are handles of one bus.
#[derive(Clone)]
pub struct EmbeddedBus {
    inner: Arc<Inner>,
}

impl fmt::Debug for EmbeddedBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedBus").finish_non_exhaustive()
    }
}

struct Inner {
    db: Database,
    options: Options,
    /// The groups that somebody subscribed to since the process started, by name.
    groups: Mutex<BTreeMap<String, Arc<Group>>>,
    /// Events taken since the log was last pruned.
    unpruned: std::sync::atomic::AtomicU32,
    /// Held while a group is made or changed, so that two do not make it at once.
    joining: tokio::sync::Mutex<()>,
}

/// How a group is doing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GroupStatus {
    /// Its name.
    pub group: String,
    /// What it wants.
    pub types: Vec<String>,
    /// Events that it has not acknowledged: being handled, or waiting for their turn.
    pub pending: u64,
}

impl EmbeddedBus {
    /// Opens the log at `url`, such as `sqlite:data/bus.sqlite`, or makes it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn open(url: &str) -> Result<Self> {
        Self::with(Database::open(url).await?, Options::default()).await
    }

    /// Opens the log at `url` to look at: for [`groups`](Self::groups) only. Nothing in it is made or changed.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn inspect(url: &str) -> Result<Self> {
        Ok(Self::of(Database::inspect(url).await?, Options::default()))
    }

    /// The bus whose log is in `db`; it uses the tables `log`, `consumer_groups` and `deliveries` there.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn with(db: Database, options: Options) -> Result<Self> {
        db.migrate(MIGRATIONS).await?;
        Ok(Self::of(db, options))
    }

    fn of(db: Database, options: Options) -> Self {
        Self {
            inner: Arc::new(Inner {
                db,
                options,
                groups: Mutex::default(),
                unpruned: 0.into(),
                joining: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Joins `group`, as [`subscribe`](Bus::subscribe) does.
    ///
    /// # Errors
    /// [`Error::InvalidPattern`], [`Error::Database`].
    pub async fn join(&self, group: &str, types: &[String]) -> Result<Member> {
        let group = self.inner.join(group, types).await?;
        Ok(Member::new(self.inner.db.clone(), group))
    }

    /// How every group is doing, by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn groups(&self) -> Result<Vec<GroupStatus>> {
        log::groups(&self.inner.db).await
    }

    /// Removes a group for good, with what it has still to handle: for a service that is no more, for whose
    /// sake the log would otherwise be kept for ever.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn forget(&self, group: &str) -> Result<()> {
        let _joining = self.inner.joining.lock().await;
        let mut tx = self.inner.db.begin().await?;
        log::forget(&mut tx, group).await?;
        tx.commit().await?;
        self.inner.groups().remove(group);
        Ok(())
    }
}

impl Inner {
    fn groups(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, group: &str) {
        if let Some(group) = self.groups().get(group) {
            group.wake();
        }
    }

    async fn publish(&self, batch: Vec<CloudEvent>) -> Result<()> {
        let mut entries = Vec::with_capacity(batch.len());
        for event in &batch {
            entries.push((event, event.to_json()?));
        }
        let mut tx = self.db.begin().await?;
        let wanting = log::append(&mut tx, entries).await?;
        let taken = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        if self.is_time_to_prune(taken) {
            log::prune(&mut tx, &self.options).await?;
        }
        tx.commit().await?;
        for group in wanting {
            self.wake(&group);
        }
        Ok(())
    }

    /// Once in so many events, so that pruning costs next to nothing for each.
    fn is_time_to_prune(&self, taken: u32) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        let every = (self.options.max_events / 16).clamp(1, 1024);
        let before = self.unpruned.fetch_add(taken, Relaxed);
        if before.saturating_add(taken) < every {
            return false;
        }
        self.unpruned.store(0, Relaxed);
        true
    }

    async fn join(&self, name: &str, types: &[String]) -> Result<Arc<Group>> {
        for wanted in types {
            pattern::check(wanted)?;
        }
        let mut types: Vec<&str> = types.iter().map(String::as_str).collect();
        types.sort_unstable();
        types.dedup();

        let _joining = self.joining.lock().await;
        let mut tx = self.db.begin().await?;
        let id = log::join(&mut tx, name, &types).await?;
        tx.commit().await?;
        let known = self.groups().get(name).cloned();
        let group = match known {
            Some(group) => group,
            None => {
                let group = Arc::new(Group::new(id, log::last(&self.db).await?));
                self.groups().insert(name.to_owned(), Arc::clone(&group));
                group
            }
        };
        group.wake();
        Ok(group)
    }

    async fn leave_out(&self, name: &str, types: &[String]) -> Result<()> {
        let _joining = self.joining.lock().await;
        let mut tx = self.db.begin().await?;
        log::leave_out(&mut tx, name, types).await?;
        tx.commit().await?;
        self.wake(name);
        Ok(())
    }

    async fn rewind(
        &self,
        name: &str,
        since: Timestamp,
        meanwhile: BoxFuture<'_, Result<()>>,
    ) -> Result<()> {
        // Nobody joins, changes what is wanted, or does the same at the same time.
        let _joining = self.joining.lock().await;
        if !log::is_known(&self.db, name).await? {
            return Err(Error::UnknownGroup {
                group: name.to_owned(),
            });
        }
        let members = self.groups().get(name).cloned();
        let _paused = match &members {
            Some(group) => Some(group.pause().await),
            None => None,
        };
        if let Some(group) = &members {
            _ = env::timeout(PATIENCE, group.quiet()).await;
        }
        meanwhile.await?;
        let mut tx = self.db.begin().await?;
        log::rewind(&mut tx, name, since).await?;
        Ok(tx.commit().await?)
    }
}

impl Bus for EmbeddedBus {
    fn publish(&self, batch: Vec<CloudEvent>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.inner.publish(batch))
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        types: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>>> {
        Box::pin(
            async move { Ok(Box::new(self.join(group, types).await?) as Box<dyn Subscription>) },
        )
    }

    fn leave_out<'a>(&'a self, group: &'a str, types: &'a [String]) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.inner.leave_out(group, types))
    }

    fn rewind<'a>(
        &'a self,
        group: &'a str,
        since: Timestamp,
        meanwhile: BoxFuture<'a, Result<()>>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.inner.rewind(group, since, meanwhile))
    }

    fn retention(&self) -> BoxFuture<'_, Result<Duration>> {
        Box::pin(future::ready(Ok(self.inner.options.max_age)))
    }
}
