//! A bank, for tests: its accounts, and a database of its own, of either engine.

#![allow(dead_code, reason = "each test file uses what it needs")]

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use outrigger_eventsourcing as eventsourcing;

use data::{Database, Engine};
use eventsourcing::{Aggregate, Append, Expected, Position, Recorded, Result, Store, Version};
use serde::{Deserialize, Serialize};
use servers::Postgres;
use tokio::sync::OnceCell;

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Account {
    pub(crate) owner: Option<String>,
    pub(crate) balance: i64,
    pub(crate) closed: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub(crate) enum AccountEvent {
    Opened { owner: String },
    Deposited(i64),
    Noted(Option<String>),
    Closed,
}

impl Aggregate for Account {
    const KIND: &'static str = "account";
    type Event = AccountEvent;

    fn apply(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened { owner } => self.owner = Some(owner.clone()),
            AccountEvent::Deposited(amount) => self.balance += amount,
            AccountEvent::Noted(_) => {}
            AccountEvent::Closed => self.closed = true,
        }
    }
}

/// A new database with an event store.
pub(crate) struct Bank {
    pub(crate) db: Database,
    folder: tempfile::TempDir,
}

impl Bank {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("bank.sqlite").display());
        Self::at(folder, &url).await
    }

    /// On the PostgreSQL server of this test program.
    pub(crate) async fn postgres() -> Self {
        let server = SERVER.get_or_init(async || Postgres::start().await.expect("a server"));
        let name = format!("bank_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let url = server.await.database(&name).await.expect("a database");
        Self::at(tempfile::tempdir().expect("a folder"), &url).await
    }

    async fn at(folder: tempfile::TempDir, url: &str) -> Self {
        let db = Database::open(url).await.expect("a database");
        eventsourcing::install(&db).await.expect("the event store");
        Self { db, folder }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.db.engine() == Engine::Postgres
    }

    pub(crate) fn store(&self) -> Store {
        Store::new(self.db.clone())
    }

    /// Appends in a transaction of its own.
    pub(crate) async fn append(
        &self,
        id: &str,
        expected: Expected,
        events: &[AccountEvent],
    ) -> Result<Version> {
        self.db
            .transaction(async |mut tx| tx.append::<Account>(id, expected, events).await)
            .await
    }

    pub(crate) async fn deposit(&self, id: &str, amount: i64) {
        let deposit = [AccountEvent::Deposited(amount)];
        self.append(id, Expected::Any, &deposit)
            .await
            .expect("appended");
    }

    /// All events, once as many are shown: on PostgreSQL, another test may hold them back for a moment.
    pub(crate) async fn all(&self, count: usize) -> Vec<Recorded> {
        let read = async {
            loop {
                let all = self.store().read_all(Position::START, 10_000).await;
                let all = all.expect("read");
                if all.len() >= count {
                    return all;
                }
                env::sleep(Duration::from_millis(2)).await;
            }
        };
        let read = env::timeout(Duration::from_secs(30), read).await;
        read.expect("they are not shown")
    }
}

static SERVER: OnceCell<Postgres> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Makes tests of functions that take a [`Bank`]: `sqlite::name` and `postgres::name` of each.
#[macro_export]
macro_rules! on_each_engine {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Bank::sqlite().await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Bank::postgres().await).await;
            })+
        }
    };
}
