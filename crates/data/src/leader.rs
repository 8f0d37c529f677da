//! One of many: of all processes that share a database, one leads in a matter, such as sending the
//! outbox; when it dies another one takes over.
//!
//! Who leads can never be known for certain by the leader itself: it may be asleep while it is
//! replaced. So each leadership has an epoch, higher than all before it, and what a leader writes is
//! [fenced](Leadership::fence): it commits only while the epoch is the highest.
//!
//! | engine | leads | until |
//! |---|---|---|
//! | PostgreSQL | who holds an advisory lock of the server | its connection ends |
//! | SQLite | who is named in a row | the row is three seconds old and was not renewed |

use std::{convert::Infallible, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use tokio::sync::{oneshot, watch};

use crate::{
    Database, Engine, Error, Result, Transaction,
    engine::{Backend, Hold},
    params,
};

/// How long a leader on SQLite may be silent before it is replaced.
const LEASE: Duration = Duration::from_secs(3);

/// How often a leader makes sure that it still leads.
const RENEWAL: Duration = Duration::from_secs(1);

/// How often one who waits looks whether nobody leads; up to twice that, at random.
const LOOK: Duration = Duration::from_millis(250);

/// Takes an epoch unless somebody's lease lasts. On PostgreSQL there are no leases, but the lock.
const TAKE: &str = "
    INSERT INTO outrigger_leaders (name, epoch, until) VALUES ($1, 1, $2)
    ON CONFLICT (name) DO UPDATE SET epoch = outrigger_leaders.epoch + 1, until = excluded.until
    WHERE outrigger_leaders.until <= $3
    RETURNING epoch";

/// A leadership, from when it was taken until it is dropped, or lost.
#[derive(Debug)]
pub struct Leadership {
    name: Arc<str>,
    epoch: i64,
    lost: watch::Receiver<bool>,
    /// Dropped with this, it tells the keeper to let go.
    _wanted: oneshot::Sender<Infallible>,
}

impl Database {
    /// Leads in the matter `name`, if nobody else does.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn lead(&self, name: &str) -> Result<Option<Leadership>> {
        let hold = match self.backend() {
            Backend::Sqlite(_) => None,
            Backend::Postgres(postgres) => match Box::pin(postgres.hold(key(name))).await? {
                None => return Ok(None),
                hold => hold,
            },
        };
        let name: Arc<str> = name.into();
        let now = env::now().as_millisecond();
        let until = if hold.is_some() { 0 } else { lease_end() };
        let row = self
            .transaction(async |mut tx| {
                let sql = params![&*name, until, now];
                tx.query_one(TAKE, sql).await
            })
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let epoch = row.get(0)?;
        let (losing, lost) = watch::channel(false);
        let (wanted, unwanted) = oneshot::channel();
        let keeper = Keeper {
            db: self.clone(),
            name: Arc::clone(&name),
            epoch,
            hold,
        };
        tokio::spawn(keeper.keep(losing, unwanted));
        tracing::debug!(%name, epoch, "leads");
        Ok(Some(Leadership {
            name,
            epoch,
            lost,
            _wanted: wanted,
        }))
    }

    /// Waits until nobody else leads in the matter `name`, and leads. A database that does not
    /// answer is waited for too. It may be cancelled.
    pub async fn lead_in_turn(&self, name: &str) -> Leadership {
        loop {
            match self.lead(name).await {
                Ok(Some(leadership)) => return leadership,
                Ok(None) => {}
                Err(error) => tracing::debug!(name, %error, "cannot ask who leads"),
            }
            let millis = LOOK.as_millis() as u64;
            env::sleep(LOOK + Duration::from_millis(env::random().below(millis))).await;
        }
    }
}

impl Leadership {
    /// Higher than that of any leader before.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Returns when somebody else may lead: stop, and ask again.
    pub async fn lost(&mut self) {
        // The keeper goes only after it has said so, or with the runtime.
        let _ = self.lost.wait_for(|lost| *lost).await;
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

/// What keeps a leadership alive beside the work that is done in it.
struct Keeper {
    db: Database,
    name: Arc<str>,
    epoch: i64,
    /// The lock, on PostgreSQL. It goes with its connection.
    hold: Option<Hold>,
}

impl Keeper {
    async fn keep(mut self, losing: watch::Sender<bool>, unwanted: oneshot::Receiver<Infallible>) {
        tokio::select! {
            biased;
            _ = unwanted => {}
            () = self.renew_while_it_lasts() => {
                tracing::debug!(name = %self.name, epoch = self.epoch, "leads no more");
            }
        }
        let _ = losing.send(true); // nobody may be left to hear it
        if self.hold.is_none() {
            let _ = self.extend(0).await; // then it ends by itself
        }
    }

    async fn renew_while_it_lasts(&mut self) {
        let mut safe_until = env::instant() + LEASE;
        loop {
            env::sleep(RENEWAL).await;
            let asked = env::instant();
            let lasts = match &mut self.hold {
                Some(hold) => hold.lasts().await,
                None => match self.extend(lease_end()).await {
                    Ok(lasts) => lasts,
                    // Perhaps the next time, if the lease lasts until then.
                    Err(_) if env::instant() + RENEWAL < safe_until => continue,
                    Err(_) => false,
                },
            };
            if !lasts {
                return;
            }
            safe_until = asked + LEASE;
        }
    }

    /// Moves the end of the lease; whether it is still ours.
    async fn extend(&self, until: i64) -> Result<bool> {
        let sql = "UPDATE outrigger_leaders SET until = $3 WHERE name = $1 AND epoch = $2";
        let updated = self
            .db
            .transaction(async |mut tx| {
                let params = params![&*self.name, self.epoch, until];
                tx.execute(sql, params).await
            })
            .await?;
        Ok(updated == 1)
    }
}

fn lease_end() -> i64 {
    env::now().as_millisecond() + LEASE.as_millis() as i64
}

/// The number by which PostgreSQL knows the lock.
fn key(name: &str) -> i64 {
    let digest = Sha256::digest(format!("outrigger leader {name}"));
    digest
        .iter()
        .take(8)
        .fold(0, |key, byte| key << 8 | i64::from(*byte))
}
