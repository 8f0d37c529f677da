//! One of many: of all processes that share a database, one leads in a matter, such as sending the
//! outbox; when it dies another one takes over.
//!
//! Who leads can never be known for certain by the leader itself: it may be asleep while it is
//! replaced. So each leadership has an epoch, higher than all before it, and what a leader writes is
//! [fenced](Leadership::fence): it commits only while the epoch is the highest.
//!
//! | engine | leads | until |
//! |---|---|---|
//! | PostgreSQL | who holds an advisory lock of the server | its connection ends, or it is silent for ten seconds |
//! | SQLite | who holds a lock of a file beside the database | it lets go, or its process ends |
//!
//! Neither lock outlives the process that holds it, so nobody waits for a lease of the dead to run out. Only of a
//! machine that has lost its power or its network does a server not hear that it is gone: then those ten seconds
//! pass (where it knows no `idle_session_timeout`, before PostgreSQL 14, the twenty of TCP).

use std::{convert::Infallible, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use tokio::sync::{oneshot, watch};

use crate::{
    Database, Engine, Error, Result, Transaction,
    engine::{Backend, Hold},
    params,
    postgres::{self, Standing},
    sqlite,
};

/// How often a leader on PostgreSQL makes sure that it still leads.
const CHECK: Duration = Duration::from_secs(1);

/// How often one who waits looks whether nobody leads; up to twice that, at random.
const LOOK: Duration = Duration::from_millis(250);

/// The same when the database does not answer: doubled from the first to this.
const LOOK_LONGEST: Duration = Duration::from_secs(2);

/// Takes the next epoch.
const TAKE: &str = "
    INSERT INTO outrigger_leaders (name, epoch) VALUES ($1, 1)
    ON CONFLICT (name) DO UPDATE SET epoch = outrigger_leaders.epoch + 1
    RETURNING epoch";

/// A leadership, from when it was taken until it is dropped, or lost.
#[derive(Debug)]
pub struct Leadership {
    name: Arc<str>,
    epoch: i64,
    office: Office,
}

/// What makes a leader one, while it lasts.
#[derive(Debug)]
enum Office {
    /// Nobody can take this lock away.
    File { _lock: sqlite::Lock },
    /// A lock that goes with its connection, which a task of its own looks after.
    Connection {
        lost: watch::Receiver<bool>,
        /// Dropped with this, it tells the task to let go.
        _wanted: oneshot::Sender<Infallible>,
    },
}

impl Database {
    /// Leads in the matter `name`, if nobody else does.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn lead(&self, name: &str) -> Result<Option<Leadership>> {
        self.try_to_lead(name, &mut Standing::default()).await
    }

    async fn try_to_lead(&self, name: &str, standing: &mut Standing) -> Result<Option<Leadership>> {
        let hold = match self.backend() {
            Backend::Sqlite(sqlite) => sqlite.hold(name)?.map(Hold::File),
            Backend::Postgres(postgres) => Box::pin(postgres.hold(key(name), standing))
                .await?
                .map(Hold::Connection),
        };
        let Some(hold) = hold else {
            return Ok(None);
        };
        let row = self
            .transaction(async |mut tx| tx.query_one(TAKE, params![name]).await)
            .await?;
        let epoch = row.map_or(Ok(0), |row| row.get(0))?;
        tracing::debug!(name, epoch, "leads");
        Ok(Some(Leadership {
            name: name.into(),
            epoch,
            office: Office::of(hold),
        }))
    }

    /// Waits until nobody else leads in the matter `name`, and leads. A database that does not
    /// answer is waited for too. It may be cancelled.
    pub async fn lead_in_turn(&self, name: &str) -> Leadership {
        let mut standing = Standing::default();
        let mut pause = LOOK;
        loop {
            pause = match self.try_to_lead(name, &mut standing).await {
                Ok(Some(leadership)) => return leadership,
                Ok(None) => LOOK,
                Err(error) => {
                    tracing::debug!(name, %error, "cannot ask who leads");
                    LOOK_LONGEST.min(pause * 2)
                }
            };
            let millis = pause.as_millis() as u64;
            env::sleep(pause + Duration::from_millis(env::random().below(millis))).await;
        }
    }
}

impl Leadership {
    /// Higher than that of any leader before.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Returns when somebody else may lead: stop, and ask again. On SQLite that never is.
    pub async fn lost(&mut self) {
        match &mut self.office {
            Office::File { .. } => std::future::pending().await,
            // The keeper goes only after it has said so, or with the runtime.
            Office::Connection { lost, .. } => drop(lost.wait_for(|lost| *lost).await),
        }
    }

    /// Binds a transaction to this leadership: it commits only if no later one has begun. Call it
    /// first, in each transaction that only a leader may make.
    ///
    /// # Errors
    /// [`Error::Deposed`], when another one leads; otherwise as [`Transaction::query`].
    pub async fn fence(&self, tx: &mut Transaction) -> Result<()> {
        // The row is held until the transaction ends, so a new leader waits for it. SQLite has one
        // writer anyway.
        let sql = match tx.engine() {
            Engine::Sqlite => "SELECT epoch FROM outrigger_leaders WHERE name = $1",
            Engine::Postgres => "SELECT epoch FROM outrigger_leaders WHERE name = $1 FOR SHARE",
        };
        let row = tx.query_one(sql, params![&*self.name]).await?;
        let highest: Option<i64> = row.map(|row| row.get(0)).transpose()?;
        if highest == Some(self.epoch) {
            return Ok(());
        }
        tx.abort();
        Err(Error::Deposed {
            name: self.name.to_string(),
            epoch: self.epoch,
        })
    }
}

impl Office {
    fn of(hold: Hold) -> Self {
        match hold {
            Hold::File(lock) => Self::File { _lock: lock },
            Hold::Connection(hold) => {
                let (losing, lost) = watch::channel(false);
                let (wanted, unwanted) = oneshot::channel();
                tokio::spawn(keep(hold, losing, unwanted));
                Self::Connection {
                    lost,
                    _wanted: wanted,
                }
            }
        }
    }
}

/// Holds a lock until it is lost, or not wanted any more.
async fn keep(
    mut hold: postgres::Hold,
    losing: watch::Sender<bool>,
    unwanted: oneshot::Receiver<Infallible>,
) {
    let lasting = async {
        while hold.lasts().await {
            env::sleep(CHECK).await;
        }
    };
    tokio::select! {
        biased;
        _ = unwanted => {}
        () = lasting => tracing::debug!("a leader has lost its connection"),
    }
    let _ = losing.send(true); // nobody may be left to hear it
}

/// The number by which PostgreSQL knows the lock.
fn key(name: &str) -> i64 {
    let digest = Sha256::digest(format!("outrigger leader {name}"));
    digest
        .iter()
        .take(8)
        .fold(0, |key, byte| key << 8 | i64::from(*byte))
}
