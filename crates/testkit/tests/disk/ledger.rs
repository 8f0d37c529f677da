//! Transactions that can be told whole from half, and what became of each as far as we were told.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use data::{Database, Error, Migration, Transaction, Value, outbox::Message, params};
use futures::future::join_all;
use outrigger_testkit::disk::Disk;
use rand::{RngExt, SeedableRng, rngs::StdRng};

const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "entries",
    "CREATE TABLE total (entries BIGINT NOT NULL);
     INSERT INTO total VALUES (0);
     CREATE TABLE parts (number BIGINT, part BIGINT, filler TEXT NOT NULL, PRIMARY KEY (number, part));",
)];
const PARTS: i64 = 3;
const FILE: &str = "ledger.sqlite";
const GROUP: &str = "ledger";

/// What we were told about the transactions, by number.
pub(crate) struct Ledger {
    pub(crate) disk: Disk,
    chance: RefCell<StdRng>,
    next: Cell<i64>,
    pub(crate) acknowledged: RefCell<BTreeSet<i64>>,
    /// Those which we were told have not happened.
    pub(crate) refused: RefCell<BTreeSet<i64>>,
}

impl Ledger {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            disk: Disk::new(seed).expect("a disk"),
            chance: RefCell::new(StdRng::seed_from_u64(seed)),
            next: Cell::new(1),
            acknowledged: RefCell::default(),
            refused: RefCell::default(),
        }
    }

    pub(crate) fn chance(&self, below: u32) -> u32 {
        self.chance.borrow_mut().random_range(0..below)
    }

    pub(crate) async fn open(&self) -> data::Result<Database> {
        let db = Database::open(&self.disk.url(FILE)).await?;
        db.migrate(MIGRATIONS).await?;
        Ok(db)
    }

    /// To look into it, beside whoever has it open.
    pub(crate) async fn inspect(&self) -> data::Result<Database> {
        Database::inspect(&self.disk.url(FILE)).await
    }

    /// Rounds of a few transactions at once, with readers beside them, until the power fails.
    pub(crate) async fn write(&self, db: &Database, rounds: usize) {
        let losses = self.disk.power_losses();
        for _ in 0..rounds {
            let together = 1 + self.chance(4);
            join_all((0..together).map(|_| self.entry(db))).await;
            let _ = db.query("SELECT sum(entries) FROM total", &[]).await;
            if self.disk.power_losses() > losses {
                return;
            }
        }
    }

    /// One transaction; what became of it is remembered.
    pub(crate) async fn entry(&self, db: &Database) -> data::Result<()> {
        let number = self.next.replace(self.next.get() + 1);
        let losses = self.disk.power_losses();
        let outcome = self.attempt(db, number).await;
        let is_dead = self.disk.power_losses() > losses; // and hears nothing any more
        match &outcome {
            Ok(()) => {
                self.acknowledged.borrow_mut().insert(number);
            }
            Err(Error::CommitUnknown { .. }) => {}
            Err(_) if is_dead => {}
            Err(_) => {
                self.refused.borrow_mut().insert(number);
            }
        }
        outcome
    }

    async fn attempt(&self, db: &Database, number: i64) -> data::Result<()> {
        let mut tx = db.begin().await?;
        self.fill(&mut tx, number).await?;
        tx.commit().await
    }

    async fn fill(&self, tx: &mut Transaction, number: i64) -> data::Result<()> {
        let id = number.to_string();
        tx.receive(GROUP, &id).await?;
        tx.execute("UPDATE total SET entries = entries + 1", &[])
            .await?;
        for part in 0..PARTS {
            let filler = "x".repeat(self.chance(3_000) as usize);
            let sql = "INSERT INTO parts VALUES ($1, $2, $3)";
            tx.execute(sql, params![number, part, filler]).await?;
        }
        tx.enqueue(Message {
            id,
            topic: "entry".to_owned(),
            key: "ledger".to_owned(),
            payload: b"{}".to_vec(),
        });
        Ok(())
    }

    /// What is wrong with the database, compared with what we were told.
    pub(crate) async fn audit(&self, db: &Database) -> Result<(), String> {
        let parts = numbers(db, "SELECT number FROM parts").await?;
        let whole: BTreeSet<_> = parts.iter().copied().collect();
        let sent = numbers(db, "SELECT CAST(id AS BIGINT) FROM outrigger_outbox").await?;
        let received =
            numbers(db, "SELECT CAST(message_id AS BIGINT) FROM outrigger_inbox").await?;
        let total = numbers(db, "SELECT entries FROM total").await?;
        let check = db.query_one("PRAGMA integrity_check", &[]).await;
        let check = check.map_err(said)?.ok_or("no answer")?;
        let check: String = check.get(0).map_err(said)?;
        let rules = [
            ("SQLite finds it sound", check == "ok"),
            (
                "all or nothing",
                parts.len() as i64 == PARTS * whole.len() as i64,
            ),
            (
                "outbox and state agree",
                sent.len() == whole.len() && sent.iter().all(|id| whole.contains(id)),
            ),
            (
                "inbox and state agree",
                received.len() == whole.len() && received.iter().all(|id| whole.contains(id)),
            ),
            ("the sum is right", total == [whole.len() as i64]),
            (
                "acknowledged, so there",
                self.acknowledged.borrow().is_subset(&whole),
            ),
            (
                "refused, so not there",
                self.refused.borrow().is_disjoint(&whole),
            ),
        ];
        match rules.iter().find(|(_, holds)| !holds) {
            Some((rule, _)) => Err(format!("{rule}: {check}, {} entries", whole.len())),
            None => Ok(()),
        }
    }
}

async fn numbers(db: &Database, sql: &str) -> Result<Vec<i64>, String> {
    let rows = db.query(sql, &[] as &[Value]).await.map_err(said)?;
    let numbers = rows.iter().map(|row| row.get(0));
    numbers.collect::<Result<_, _>>().map_err(said)
}

/// An error with its causes.
pub(crate) fn said(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
