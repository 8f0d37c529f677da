//! Read models: each event once, in order, through failures and restarts.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod bank;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bank::{Account, AccountEvent, Bank};
use data::{Database, Migration, Transaction, params};
use env::BoxError;
use futures::{FutureExt, future::BoxFuture};
use outrigger_eventsourcing::{Projection, Recorded, projection};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

on_each_engine!(
    a_read_model_catches_up_and_goes_on_with_what_comes,
    it_goes_on_where_it_was_after_a_restart,
    a_failure_is_visible_and_tried_again_and_nothing_is_taken_twice,
    two_instances_take_each_event_once,
);

/// Writes down every deposit, with a number that shows how often.
struct Deposits {
    /// The amount that is not taken while this is true.
    unlucky: AtomicBool,
}

const UNLUCKY: i64 = 13;

impl Projection for Deposits {
    fn name(&self) -> &str {
        "deposits"
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut Transaction,
        event: &'a Recorded,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        async move {
            let Some(AccountEvent::Deposited(amount)) = event.read::<Account>()? else {
                return Ok(());
            };
            let insert = "INSERT INTO deposits (position, amount) VALUES ($1, $2)";
            tx.execute(insert, params![event.position.to_string(), amount])
                .await?;
            if amount == UNLUCKY && self.unlucky.load(Ordering::Relaxed) {
                return Err("thirteen".into());
            }
            Ok(())
        }
        .boxed()
    }
}

struct Running {
    deposits: Arc<Deposits>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(db: &Database) -> Self {
        let unlucky = AtomicBool::new(true);
        let deposits = Arc::new(Deposits { unlucky });
        let stop = CancellationToken::new();
        let run = projection::run(db.clone(), Arc::clone(&deposits) as _, stop.clone());
        Self {
            deposits,
            stop,
            task: tokio::spawn(run),
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("done");
    }
}

/// The read model's table. An event that is taken twice shows: its position is in it twice.
async fn make_table(bank: &Bank) {
    let place = match bank.is_postgres() {
        true => "BIGINT GENERATED ALWAYS AS IDENTITY",
        false => "INTEGER PRIMARY KEY",
    };
    let table = format!(
        "CREATE TABLE deposits (place {place}, position TEXT NOT NULL, amount BIGINT NOT NULL)"
    );
    let step = Migration::new(1, "deposits", Box::leak(table.into_boxed_str()));
    bank.db.migrate(&[step]).await.expect("done");
}

/// In the order in which they were taken.
async fn amounts(db: &Database) -> Vec<i64> {
    let all = "SELECT amount FROM deposits ORDER BY place";
    let rows = db.query(all, params![]).await.expect("done");
    rows.iter().map(|row| row.get(0).expect("done")).collect()
}

/// Waits until the read model is this, at most for a minute.
async fn until(db: &Database, expected: &[i64]) {
    let reached = async {
        while amounts(db).await != expected {
            env::sleep(Duration::from_millis(10)).await;
        }
    };
    if env::timeout(Duration::from_mins(1), reached).await.is_err() {
        assert_eq!(amounts(db).await, expected);
    }
}

async fn a_read_model_catches_up_and_goes_on_with_what_comes(bank: Bank) {
    make_table(&bank).await;
    bank.deposit("1", 1).await;
    bank.deposit("2", 2).await;
    let running = Running::start(&bank.db);
    until(&bank.db, &[1, 2]).await;
    bank.deposit("1", 3).await;
    until(&bank.db, &[1, 2, 3]).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_read_model_is_woken_by_what_comes() {
    let bank = Bank::sqlite().await;
    make_table(&bank).await;
    let running = Running::start(&bank.db);
    bank.deposit("1", 1).await;
    until(&bank.db, &[1]).await;

    let before = env::instant();
    bank.deposit("1", 2).await;
    tokio::task::yield_now().await;
    until(&bank.db, &[1, 2]).await;
    assert!(
        env::instant() - before < Duration::from_millis(100),
        "woken, not by looking again"
    );
    running.stop().await;
}

async fn it_goes_on_where_it_was_after_a_restart(bank: Bank) {
    make_table(&bank).await;
    for round in 0..5 {
        let running = Running::start(&bank.db);
        bank.deposit("1", round).await;
        until(&bank.db, &(0..=round).collect::<Vec<_>>()).await;
        running.stop().await;
    }
    let status = projection::status(&bank.db, "deposits").await.unwrap();
    assert_eq!(status.position, bank.all(5).await[4].position);
}

async fn a_failure_is_visible_and_tried_again_and_nothing_is_taken_twice(bank: Bank) {
    make_table(&bank).await;
    for amount in [1, 2, UNLUCKY, 3] {
        bank.deposit("1", amount).await;
    }
    let running = Running::start(&bank.db);
    until(&bank.db, &[1, 2]).await;
    let failed = async {
        loop {
            let status = projection::status(&bank.db, "deposits").await.unwrap();
            if status.failures >= 3 {
                return status;
            }
            env::sleep(Duration::from_millis(10)).await;
        }
    };
    let status = env::timeout(Duration::from_mins(1), failed).await.unwrap();
    let all = bank.all(4).await;
    assert_eq!(status.position, all[1].position);
    let why = format!(
        "the event at position {} was not taken: thirteen",
        all[2].position
    );
    assert_eq!(status.error, Some(why));

    running.deposits.unlucky.store(false, Ordering::Relaxed);
    until(&bank.db, &[1, 2, UNLUCKY, 3]).await;
    let status = projection::list(&bank.db).await.unwrap().remove(0);
    assert_eq!(
        (status.position, status.failures, status.error),
        (all[3].position, 0, None)
    );
    running.stop().await;
}

async fn two_instances_take_each_event_once(bank: Bank) {
    make_table(&bank).await;
    let both = [Running::start(&bank.db), Running::start(&bank.db)];
    let expected: Vec<i64> = (100..150).collect();
    for amount in &expected {
        bank.deposit("1", *amount).await;
    }
    until(&bank.db, &expected).await;
    for running in both {
        running.stop().await;
    }
    assert_eq!(amounts(&bank.db).await, expected);
}
