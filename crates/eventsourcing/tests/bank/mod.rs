//! A bank, for tests: its accounts, and a database of its own.

#![allow(dead_code, reason = "each test file uses what it needs")]

use outrigger_eventsourcing as eventsourcing;

use data::Database;
use eventsourcing::{Aggregate, Append, Expected, Result, Version};
use serde::{Deserialize, Serialize};

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

/// A database in a folder that goes with it.
pub(crate) struct Bank {
    pub(crate) db: Database,
    pub(crate) folder: tempfile::TempDir,
}

impl Bank {
    pub(crate) async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("bank.sqlite").display());
        let db = Database::open(&url).await.expect("a database");
        eventsourcing::install(&db).await.expect("the event store");
        Self { db, folder }
    }

    /// Appends in a transaction of its own.
    pub(crate) async fn append(
        &self,
        id: &str,
        expected: Expected,
        events: &[AccountEvent],
    ) -> Result<Version> {
        let mut tx = self.db.begin().await?;
        let version = tx.append::<Account>(id, expected, events).await?;
        tx.commit().await?;
        Ok(version)
    }

    pub(crate) async fn deposit(&self, id: &str, amount: i64) {
        let deposit = [AccountEvent::Deposited(amount)];
        self.append(id, Expected::Any, &deposit)
            .await
            .expect("appended");
    }
}
