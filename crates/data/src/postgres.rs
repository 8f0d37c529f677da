//! The engine for many machines: PostgreSQL, through a pool of connections.
//!
//! | file | subject |
//! |---|---|
//! | `target.rs` | the URL: which server, and how to reach it |
//! | `tls.rs` | encrypted connections |
//! | `connection.rs` | one connection and its prepared statements |
//! | `pool.rs` | all of them, with bounds |
//! | `member.rs` | one transaction |
//! | `notifier.rs` | waking other processes |
//! | `provision.rs` | a database and a role for a service |
//! | `check.rs` | whether it is set as the guarantees need it |
//! | `value.rs`, `numeric.rs` | values on the wire |
//! | `failure.rs` | the server's codes, read once |

mod check;
mod connection;
mod failure;
mod member;
mod notifier;
mod numeric;
mod pool;
mod provision;
mod target;
mod tls;
mod value;

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;

pub use self::provision::{is_provisioned, provision};
pub(crate) use self::{check::check, member::Member};
use self::{
    connection::{Connection, Place},
    notifier::Notifier,
    pool::Pool,
    target::Target,
};
use crate::{Changes, Engine, Error, Result, Row, Value, error::Kind, framework::LEDGER};

/// PostgreSQL 13: the first with `xid8`, by which the order of commits is known.
const REQUIRED: (i64, &str) = (130_000, "13");

/// How often a query is run when the connection that it got turns out to be lost. Reading again
/// does no harm.
const QUERY_RUNS: u32 = 3;

/// After how much silence of a leader the server takes its lock back. A leader whose machine has lost its power says
/// no goodbye.
const LOCK_SILENCE: Duration = Duration::from_secs(10);

/// Two processes that open a new database at the same time make its first table one after the
/// other. The number is the framework's alone.
const OPENING: i64 = 0x006F_7574_7269_6767;

/// Whether a URL is of this engine.
pub(crate) fn is_ours(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// An open database of a server.
pub(crate) struct Postgres {
    target: Arc<Target>,
    pool: Arc<Pool>,
    notifier: Arc<Notifier>,
    /// `None` when it is open for inspection.
    listener: Option<JoinHandle<()>>,
}

impl Postgres {
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let target = Arc::new(Target::parse(url)?);
        let mut connection = Connection::open(&target).await?;
        check_version(&mut connection).await?;
        check::warn(&mut connection, &target).await?;
        connection
            .batch(&format!(
                "BEGIN READ WRITE; SELECT pg_advisory_xact_lock({OPENING}); {LEDGER} COMMIT"
            ))
            .await?;
        let mut database = Self::of(&target);
        database.listener = Some(database.notifier.run(target));
        Ok(database)
    }

    pub(crate) async fn inspect(url: &str) -> Result<Self> {
        let target = Arc::new(Target::parse(url)?);
        check_version(&mut Connection::open(&target).await?).await?;
        Ok(Self::of(&target))
    }

    fn of(target: &Arc<Target>) -> Self {
        Self {
            target: Arc::clone(target),
            pool: Arc::new(Pool::new(Arc::clone(target))),
            notifier: Arc::default(),
            listener: None,
        }
    }

    /// The name of the database.
    pub(crate) fn name(&self) -> &str {
        self.target.database()
    }

    pub(crate) async fn begin(&self) -> Result<Member> {
        if self.listener.is_none() {
            return Err(Error::ReadOnly);
        }
        let lease = self.pool.take().await?;
        Ok(Member::new(lease, Arc::clone(&self.notifier)))
    }

    pub(crate) async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        let mut runs = 1;
        loop {
            let mut lease = self.pool.take().await?;
            let outcome = lease.connection.query(sql, params, Place::Within).await;
            lease.give_back();
            match outcome {
                Err(Error::Statement {
                    kind: Kind::Connection | Kind::Serialization,
                    ..
                }) if runs < QUERY_RUNS => runs += 1,
                outcome => return outcome,
            }
        }
    }

    /// Takes a lock of the server that goes with its connection; `None` when another one has it. The connection is
    /// kept in `standing` for the next try.
    pub(crate) async fn hold(&self, key: i64, standing: &mut Standing) -> Result<Option<Hold>> {
        if self.listener.is_none() {
            return Err(Error::ReadOnly);
        }
        // Out of `standing` while it is used: who gives up amid the question drops it, with what it may have taken.
        let mut connection = match standing.0.take().filter(Connection::is_good) {
            Some(connection) => connection,
            None => {
                let mut connection = Connection::open(&self.target).await?;
                connection.end_after(LOCK_SILENCE).await?;
                connection
            }
        };
        let sql = "SELECT pg_try_advisory_lock($1)";
        let rows = connection.query(sql, &[key.into()], Place::Within).await?;
        if rows.first().map_or(Ok(false), |row| row.get(0))? {
            return Ok(Some(Hold { connection }));
        }
        standing.0 = Some(connection);
        Ok(None)
    }

    pub(crate) fn changes(&self, channel: &'static str) -> Changes {
        self.notifier.listen(channel)
    }
}

/// The connection of one who wants a lock, between two tries.
#[derive(Default)]
pub(crate) struct Standing(Option<Connection>);

/// A lock of the server. Dropped, it is let go with its connection.
pub(crate) struct Hold {
    connection: Connection,
}

impl Hold {
    /// Whether its connection is alive. To be asked at least every few seconds: the server takes the lock back when it
    /// is not.
    pub(crate) async fn lasts(&mut self) -> bool {
        self.connection.answers().await
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

async fn check_version(connection: &mut Connection) -> Result<()> {
    let sql =
        "SELECT current_setting('server_version_num')::BIGINT, current_setting('server_version')";
    let rows = connection.query(sql, &[], Place::Within).await?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    if row.get::<i64>(0)? < REQUIRED.0 {
        return Err(Error::OldEngine {
            engine: Engine::Postgres,
            found: row.get(1)?,
            required: REQUIRED.1.to_owned(),
        });
    }
    Ok(())
}
