//! Reading what is committed: one stream, or all events in their order. And appending alone, without a transaction.

use std::sync::Arc;

use data::{Database, Engine, params};
use env::Timestamp;

use crate::{
    Aggregate, Batch, Error, Expected, Loaded, Position, Recorded, Result, Version,
    aggregate::stream,
    load::{self, ARCHIVE, HOT},
    postgres,
    queue::Queue,
    sqlite,
};

/// The channel that a transaction wakes which has appended.
pub(crate) const CHANNEL: &str = "outrigger_events";

/// The event store of a database. Cheap to clone, and the clones share one queue of appends.
#[derive(Debug, Clone)]
pub struct Store {
    db: Database,
    queue: Arc<Queue>,
}

/// What is committed and not shown to those who read all events, because a transaction that began earlier has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeldBack {
    /// How many events.
    pub events: u64,
    /// When the oldest of them was recorded.
    pub since: Option<Timestamp>,
}

impl Store {
    /// The store in `db`, in which it was [installed](crate::install).
    pub fn new(db: Database) -> Self {
        Self {
            queue: Arc::new(Queue::new(db.clone())),
            db,
        }
    }

    /// Appends to the stream of the `A` with this id and nothing else; the version that it has then. Returns when the
    /// events are durable.
    ///
    /// What this store and its clones append at the same time is committed together, each append as if it were alone: one
    /// that fails fails by itself. So many appends cost little more than one. What must commit together with other
    /// writes is appended in their [transaction](crate::Append).
    ///
    /// Cancelled, it leaves open whether the events are appended.
    ///
    /// # Errors
    /// [`Error::VersionConflict`] and [`Error::Archived`], when nothing was written; [`Error::Untagged`],
    /// [`Error::Encode`]; [`Error::Database`], of [`Overloaded`](data::Error::Overloaded) at once when too many wait.
    pub async fn append<A: Aggregate>(
        &self,
        id: &str,
        expected: Expected,
        events: &[A::Event],
    ) -> Result<Version> {
        let mut batch = Batch::new();
        batch.append::<A>(id, expected, events)?;
        let versions = self.append_batch(batch).await?;
        Ok(versions.into_iter().sum()) // there is one
    }

    /// Appends all of `batch` or, when an expectation is wrong, nothing of it; the versions that its streams have then,
    /// one for each [`Batch::append`].
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn append_batch(&self, batch: Batch) -> Result<Vec<Version>> {
        self.queue.append(batch).await
    }

    /// Reads the `A` with this id, as it is committed.
    ///
    /// # Errors
    /// [`Error::Unreadable`] and the others that say what cannot be read, [`Error::Database`].
    pub async fn load<A: Aggregate>(&self, id: &str) -> Result<Loaded<A>> {
        let (loaded, _) = load::load(&mut &self.db, id).await?;
        Ok(loaded)
    }

    /// The first `limit` events of the `A` with this id that have at least the version `from`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn events<A: Aggregate>(
        &self,
        id: &str,
        from: Version,
        limit: u32,
    ) -> Result<Vec<Recorded>> {
        load::page(&mut &self.db, HOT, &stream::<A>(id), from, limit).await
    }

    /// The same of an [archived](crate::Append::archive) stream.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn archived<A: Aggregate>(
        &self,
        id: &str,
        from: Version,
        limit: u32,
    ) -> Result<Vec<Recorded>> {
        load::page(&mut &self.db, ARCHIVE, &stream::<A>(id), from, limit).await
    }

    /// The first `limit` events of all streams after the position `after`.
    ///
    /// Reading on from the last position that was seen skips no event. On PostgreSQL an event is shown once no
    /// transaction that began to write before it is open any more, in the whole cluster: so one that stays open for
    /// long delays all readers ([`held_back`](Self::held_back) tells).
    ///
    /// # Errors
    /// [`Error::ForeignPosition`], [`Error::Database`].
    pub async fn read_all(&self, after: Position, limit: u32) -> Result<Vec<Recorded>> {
        let (transaction, sequence) = (int(after.transaction()), int(after.sequence()));
        let rows = match self.db.engine() {
            Engine::Sqlite if transaction == 0 => {
                let place = params![sequence, limit];
                self.db.query(sqlite::READ_ALL, place).await?
            }
            Engine::Postgres if transaction > 0 || sequence == 0 => {
                let place = params![transaction, sequence, limit];
                self.db.query(postgres::READ_ALL, place).await?
            }
            _ => return Err(Error::ForeignPosition { position: after }),
        };
        load::recorded(&mut &self.db, &rows).await
    }

    pub(crate) fn database(&self) -> &Database {
        &self.db
    }

    /// What is committed and not shown yet; nothing on SQLite, where there is one writer.
    ///
    /// It is worth an alarm when it stays: somewhere in the cluster a transaction has written and does not end
    /// (`SELECT * FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY xact_start` finds it).
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn held_back(&self) -> Result<HeldBack> {
        if self.db.engine() == Engine::Sqlite {
            return Ok(HeldBack::default());
        }
        let row = self.db.query_one(postgres::HELD_BACK, params![]).await?;
        row.map_or(Ok(HeldBack::default()), |row| {
            Ok(HeldBack {
                events: row.get(0)?,
                since: row.get(1)?,
            })
        })
    }
}

/// As the database counts. A number that it cannot hold is beyond every event that there can be.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
