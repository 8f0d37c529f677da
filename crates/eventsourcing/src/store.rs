//! Reading what is committed: one stream, or all events in their order.

use data::{Database, Engine, params};
use env::Timestamp;

use crate::{
    Aggregate, Error, Loaded, Position, Recorded, Result, Version,
    aggregate::stream,
    load::{self, ARCHIVE, HOT},
    postgres, sqlite,
};

/// The channel that a transaction wakes which has appended.
pub(crate) const CHANNEL: &str = "outrigger_events";

/// The event store of a database, for reading. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    db: Database,
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
        Self { db }
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
