//! Replaying and rebuilding by Outrigger.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use data::{Database, Transaction, params};
use eventsourcing::{
    Projection, Recorded, Store,
    projection::{self, Table},
};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::ID;
use crate::{
    Result,
    account::{Account, Change},
};

/// Loads the aggregate; how many events it has.
pub async fn load(url: &str) -> Result<u64> {
    let store = Store::new(Database::open(url).await?);
    Ok(store.load::<Account>(ID).await?.version)
}

/// Builds the read model of all events; how many they are.
pub async fn rebuild(url: &str, events: u64) -> Result<u64> {
    let db = Database::open(url).await?;
    let shutdown = CancellationToken::new();
    let balances = Arc::new(Balances {
        left: AtomicU64::new(events),
        shutdown: shutdown.clone(),
    });
    // So that each run begins at the first event.
    let forget = "DELETE FROM outrigger_projections WHERE name = 'balances'";
    for statement in [
        forget,
        "DROP VIEW IF EXISTS balances",
        "DROP TABLE IF EXISTS balances_v1",
    ] {
        db.transaction(async |mut tx| tx.execute(statement, &[]).await)
            .await?;
    }
    // What is taken when it is told to stop is committed before it does.
    projection::run(db, Arc::clone(&balances) as Arc<dyn Projection>, shutdown).await;
    Ok(events - balances.left.load(Ordering::Relaxed))
}

/// What is on each account.
struct Balances {
    left: AtomicU64,
    shutdown: CancellationToken,
}

impl Projection for Balances {
    fn name(&self) -> &str {
        "balances"
    }

    fn tables(&self) -> &[Table] {
        const BALANCES: Table = Table::new(
            "balances",
            &["CREATE TABLE balances_v1 (account TEXT PRIMARY KEY, amount BIGINT NOT NULL)"],
        );
        &[BALANCES]
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut Transaction,
        event: &'a Recorded,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let Some(Change::Deposited {
                account, amount, ..
            }) = event.read::<Account>()?
            else {
                return Ok(());
            };
            let add = "INSERT INTO balances_v1 (account, amount) VALUES ($1, $2)
                       ON CONFLICT (account) DO UPDATE SET amount = balances_v1.amount + excluded.amount";
            tx.execute(add, params![account, amount]).await?;
            if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.shutdown.cancel();
            }
            Ok(())
        })
    }
}
