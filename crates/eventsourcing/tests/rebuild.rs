//! A projection is built anew while its old version is read: nobody sees it go back, and nothing is taken twice.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod bank;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use bank::{Account, AccountEvent, Bank};
use data::{Database, Transaction, params};
use env::BoxError;
use futures::{FutureExt, future::BoxFuture};
use outrigger_eventsourcing::{
    Error, Expected, Position, Projection, Recorded,
    projection::{self, State, Table},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Writes down every deposit, multiplied by the version.
struct Deposits {
    version: u32,
    tables: Vec<Table>,
    /// The event of this number is not taken while `shut`.
    gate: i64,
    shut: AtomicBool,
    taken: AtomicI64,
}

const V1: Table = Table::new(
    "deposits",
    &["CREATE TABLE deposits_v1 (position TEXT NOT NULL, amount BIGINT NOT NULL)"],
);
const V2: Table = Table::new(
    "deposits",
    &[
        "CREATE TABLE deposits_v2 (place TEXT NOT NULL, amount BIGINT NOT NULL)",
        "CREATE INDEX deposits_v2_by_amount ON deposits_v2 (amount)",
    ],
);

impl Deposits {
    fn new(version: u32) -> Self {
        Self {
            version,
            tables: vec![if version == 1 { V1 } else { V2 }],
            gate: 0,
            shut: AtomicBool::new(false),
            taken: AtomicI64::new(0),
        }
    }

    /// Stands still before the event of this number, until it is opened.
    fn shut_at(self, gate: i64) -> Self {
        Self {
            gate,
            shut: AtomicBool::new(true),
            ..self
        }
    }
}

impl Projection for Deposits {
    fn name(&self) -> &str {
        "deposits"
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn tables(&self) -> &[Table] {
        &self.tables
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
            if amount == self.gate && self.shut.load(Ordering::Relaxed) {
                return Err("the gate is shut".into());
            }
            let insert = format!("INSERT INTO deposits_v{} VALUES ($1, $2)", self.version);
            let amount = amount * i64::from(self.version);
            tx.execute(&insert, params![event.position.to_string(), amount])
                .await?;
            self.taken.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await; // so that it can be cut off here
            Ok(())
        }
        .boxed()
    }
}

struct Running {
    projection: Arc<Deposits>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(db: &Database, projection: Deposits) -> Self {
        let projection = Arc::new(projection);
        let stop = CancellationToken::new();
        let run = projection::run(db.clone(), Arc::clone(&projection) as _, stop.clone());
        let task = tokio::spawn(run);
        Self {
            projection,
            stop,
            task,
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("done");
    }

    /// Returns when it has ended by itself.
    async fn ended(self) {
        let ended = env::timeout(Duration::from_mins(1), self.task).await;
        ended.expect("it does not end").expect("done");
    }
}

/// What is read, in the order of the amounts.
async fn amounts(db: &Database) -> Vec<i64> {
    let all = "SELECT amount FROM deposits ORDER BY amount";
    let rows = db.query(all, params![]).await.expect("read");
    rows.iter().map(|row| row.get(0).expect("read")).collect()
}

async fn states(db: &Database) -> Vec<(u32, State)> {
    let all = projection::list(db).await.expect("read");
    all.iter().map(|one| (one.version, one.state)).collect()
}

/// Waits until it holds, at most for a minute.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !holds().await {
            env::sleep(Duration::from_millis(5)).await;
        }
    };
    let reached = env::timeout(Duration::from_mins(1), reached).await;
    assert!(reached.is_ok(), "{what}");
}

async fn deposit(bank: &Bank, amounts: impl IntoIterator<Item = i64>) {
    for amount in amounts {
        bank.deposit("1", amount).await;
    }
}

async fn a_new_version_is_built_while_the_old_one_is_read(bank: Bank) {
    let db = &bank.db;
    projection::prepare(db, &Deposits::new(1)).await.unwrap();
    assert!(
        amounts(db).await.is_empty(),
        "there to be read before it runs"
    );
    let old = Running::start(db, Deposits::new(1));
    deposit(&bank, 1..=20).await;
    until("the first version catches up", async || {
        amounts(db).await.len() == 20
    })
    .await;
    assert_eq!(states(db).await, [(1, State::Serving)]);

    let new = Running::start(db, Deposits::new(2).shut_at(11));
    until("the new one comes to its gate", async || {
        new.projection.taken.load(Ordering::Relaxed) >= 10
            && projection::list(db)
                .await
                .unwrap()
                .iter()
                .any(|one| one.failures > 1)
    })
    .await;
    deposit(&bank, 21..=25).await;
    until("the old one goes on", async || {
        amounts(db).await.len() == 25
    })
    .await;
    assert_eq!(amounts(db).await, (1..=25).collect::<Vec<_>>());
    assert_eq!(
        states(db).await,
        [(1, State::Serving), (2, State::Building)]
    );
    assert_eq!(projection::status(db, "deposits").await.unwrap().version, 1);

    new.projection.shut.store(false, Ordering::Relaxed);
    let mut most = 25;
    until("the new one serves", async || {
        let read = amounts(db).await;
        assert!(read.len() >= most, "never less than before");
        most = read.len();
        read.contains(&50)
    })
    .await;
    old.ended().await;
    until("the old one is dropped", async || {
        states(db).await == [(2, State::Serving)]
    })
    .await;
    assert!(
        db.query("SELECT 1 FROM deposits_v1", params![])
            .await
            .is_err()
    );
    deposit(&bank, [26]).await;
    let all: Vec<_> = (1..=26).map(|amount| 2 * amount).collect();
    until("the new one goes on", async || amounts(db).await == all).await;
    new.stop().await;
}

async fn a_restart_in_the_middle_goes_on_where_it_was(bank: Bank) {
    let db = &bank.db;
    let old = Running::start(db, Deposits::new(1));
    deposit(&bank, 1..=20).await;
    until("the first version catches up", async || {
        projection::status(db, "deposits").await.is_ok() && amounts(db).await.len() == 20
    })
    .await;
    old.stop().await;

    let new = Running::start(db, Deposits::new(2).shut_at(11));
    until("the new one comes to its gate", async || {
        let all = projection::list(db).await.unwrap();
        all.iter()
            .any(|one| one.version == 2 && one.position > Position::START && one.failures > 0)
    })
    .await;
    new.stop().await;
    assert_eq!(
        states(db).await,
        [(1, State::Serving), (2, State::Building)]
    );

    let new = Running::start(db, Deposits::new(2));
    let all: Vec<_> = (1..=20).map(|amount| 2 * amount).collect();
    until("the new one serves", async || amounts(db).await == all).await;
    assert!(
        new.projection.taken.load(Ordering::Relaxed) <= 10,
        "not from the beginning"
    );
    new.stop().await;
}

async fn older_code_leaves_a_newer_version_alone(bank: Bank) {
    let db = &bank.db;
    deposit(&bank, 1..=3).await;
    let new = Running::start(db, Deposits::new(2));
    until("it serves", async || {
        states(db).await == [(2, State::Serving)]
    })
    .await;
    Running::start(db, Deposits::new(1)).ended().await;
    assert_eq!(states(db).await, [(2, State::Serving)]);
    until("it goes on", async || amounts(db).await == [2, 4, 6]).await;
    new.stop().await;
}

async fn replicas_of_two_versions_do_not_fight(bank: Bank) {
    let db = &bank.db;
    deposit(&bank, 1..=50).await;
    let old = [
        Running::start(db, Deposits::new(1)),
        Running::start(db, Deposits::new(1)),
    ];
    until("the first version catches up", async || {
        projection::status(db, "deposits").await.is_ok() && amounts(db).await.len() == 50
    })
    .await;
    let new = [(); 3].map(|()| Running::start(db, Deposits::new(2)));
    deposit(&bank, 51..=100).await;
    for old in old {
        old.ended().await;
    }
    let all: Vec<_> = (1..=100).map(|amount| 2 * amount).collect();
    until("each event is taken once", async || {
        amounts(db).await == all
    })
    .await;
    for new in new {
        new.stop().await;
    }
    assert_eq!(states(db).await, [(2, State::Serving)]);
}

async fn what_a_crash_left_to_be_dropped_is_dropped(bank: Bank) {
    let db = &bank.db;
    projection::prepare(db, &Deposits::new(2)).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.execute(V1.create[0], params![]).await.unwrap();
    let retired = "INSERT INTO outrigger_projections
                   (name, version, state, position, paused, tables, failures, updated)
                   VALUES ('deposits', 1, 'retired', '0', 0, '[\"deposits\"]', 0, 0)";
    tx.execute(retired, params![]).await.unwrap();
    tx.commit().await.unwrap();

    let new = Running::start(db, Deposits::new(2));
    until("it is dropped", async || {
        states(db).await == [(2, State::Serving)]
    })
    .await;
    assert!(
        db.query("SELECT 1 FROM deposits_v1", params![])
            .await
            .is_err()
    );
    new.stop().await;
}

async fn it_can_be_paused_and_resumed_and_reset(bank: Bank) {
    let db = &bank.db;
    assert!(matches!(
        projection::pause(db, "deposits").await,
        Err(Error::NoProjection { .. })
    ));
    let running = Running::start(db, Deposits::new(1));
    deposit(&bank, 1..=3).await;
    until("it catches up", async || {
        projection::status(db, "deposits").await.is_ok() && amounts(db).await == [1, 2, 3]
    })
    .await;

    projection::pause(db, "deposits").await.unwrap();
    deposit(&bank, [4]).await;
    env::sleep(Duration::from_millis(50)).await;
    let status = projection::status(db, "deposits").await.unwrap();
    assert!(status.paused && amounts(db).await == [1, 2, 3]);

    projection::reset(db, "deposits").await.unwrap();
    assert!(amounts(db).await.is_empty());
    projection::resume(db, "deposits").await.unwrap();
    until("it begins anew", async || amounts(db).await == [1, 2, 3, 4]).await;
    assert_eq!(running.projection.taken.load(Ordering::Relaxed), 7);
    running.stop().await;
}

async fn what_cannot_be_built_beside_another_is_refused(bank: Bank) {
    let without = |version| Deposits {
        tables: Vec::new(),
        ..Deposits::new(version)
    };
    let db = &bank.db;
    projection::prepare(db, &without(1)).await.unwrap();
    let refused = projection::prepare(db, &without(2)).await;
    assert!(
        matches!(refused, Err(Error::NoTables { version: 2, .. })),
        "{refused:?}"
    );
    let refused = projection::reset(db, "deposits").await;
    assert!(
        matches!(refused, Err(Error::NoTables { version: 1, .. })),
        "{refused:?}"
    );
    for name in ["", "Deposits", "deposits; --", "1st", "a name"] {
        let named = Deposits {
            tables: vec![Table::new(name, &[])],
            ..Deposits::new(3)
        };
        let refused = projection::prepare(db, &named).await;
        assert!(
            matches!(refused, Err(Error::TableName { .. })),
            "{refused:?}"
        );
    }
    // A table of the old version's name is noticed when it is made, and nothing of it stays.
    let forgotten = Deposits {
        tables: vec![Table::new("deposits", V1.create)],
        ..Deposits::new(2)
    };
    projection::prepare(db, &forgotten).await.unwrap_err();
    assert_eq!(states(db).await, [(1, State::Serving)]);
    assert!(
        db.query("SELECT 1 FROM deposits_v1", params![])
            .await
            .is_err()
    );
}

async fn a_batch_that_is_cut_off_is_taken_whole_by_the_next_instance(bank: Bank) {
    let db = &bank.db;
    let events = vec![AccountEvent::Deposited(1); 300];
    bank.append("1", Expected::Any, &events).await.unwrap();
    for round in 0..20 {
        let running = Running::start(db, Deposits::new(1));
        // Killed after so many events, wherever it is then.
        until("it takes some", async || {
            running.projection.taken.load(Ordering::Relaxed) >= round * 7
                || projection::status(db, "deposits").await.is_ok()
                    && amounts(db).await.len() == 300
        })
        .await;
        running.task.abort();
    }
    let last = Running::start(db, Deposits::new(1));
    until("all are taken", async || amounts(db).await.len() >= 300).await;
    assert_eq!(amounts(db).await, vec![1; 300]);
    last.stop().await;
}

on_each_engine!(
    a_new_version_is_built_while_the_old_one_is_read,
    a_restart_in_the_middle_goes_on_where_it_was,
    older_code_leaves_a_newer_version_alone,
    replicas_of_two_versions_do_not_fight,
    what_a_crash_left_to_be_dropped_is_dropped,
    it_can_be_paused_and_resumed_and_reset,
    what_cannot_be_built_beside_another_is_refused,
    a_batch_that_is_cut_off_is_taken_whole_by_the_next_instance,
);
