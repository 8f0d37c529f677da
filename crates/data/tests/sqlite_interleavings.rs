//! Many concurrent writers against a model, over random interleavings of all the ways in which a
//! transaction can end.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{
        Mutex,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use fixture::{Fixture, insert, message, outbox_ids};
use outrigger_data as data;
use proptest::prelude::*;

use data::{Database, Error, params};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Commit,
    RollBack,
    Drop,
    /// A statement fails; then dropped.
    Fail,
    /// A statement fails so that the engine rolls the whole group back.
    LoseGroup,
}

/// One transaction: how many rows it inserts, how it ends.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rows: i64,
    ending: Ending,
}

/// What the scheduler does next to one of the transactions.
#[derive(Debug, Clone, Copy)]
enum Step {
    Poll(usize),
    Cancel(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing of it may be seen.
    Open,
    /// All of it or nothing may be seen.
    Committing,
    /// All of it must be seen.
    Acknowledged,
    /// Nothing of it may ever be seen.
    Undone,
}

const CLIENTS: usize = 6;

fn plan() -> impl Strategy<Value = Plan> {
    let ending = prop_oneof![
        6 => Just(Ending::Commit),
        1 => Just(Ending::RollBack),
        1 => Just(Ending::Drop),
        1 => Just(Ending::Fail),
        1 => Just(Ending::LoseGroup),
    ];
    (0..3_i64, ending).prop_map(|(rows, ending)| Plan { rows, ending })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..CLIENTS).prop_map(Step::Poll),
        1 => (0..CLIENTS).prop_map(Step::Cancel),
    ]
}

proptest! {
    // Each opens and closes a database, which is most of the time that this takes.
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_interleaving_agrees_with_the_model(
        plans in prop::collection::vec(plan(), CLIENTS),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        // Time stands still: nothing below may depend on the timer that helps where a task is never
        // polled.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(&plans, &steps));
    }
}

async fn run(plans: &[Plan], steps: &[Step]) {
    let fixture = Fixture::new().await;
    let db = &fixture.db;
    let states: Vec<_> = plans.iter().map(|_| Mutex::new(State::Open)).collect();
    let mut clients: Vec<Option<Pin<Box<dyn Future<Output = ()>>>>> = Vec::new();
    for (client, &plan) in plans.iter().enumerate() {
        let future = live(db, client as i64, plan, &states[client]);
        clients.push(Some(Box::pin(future)));
    }

    for &step in steps {
        match step {
            Step::Poll(client) => poll(&mut clients[client]),
            Step::Cancel(client) => {
                clients[client] = None;
                let mut state = states[client].lock().unwrap();
                if *state == State::Open {
                    *state = State::Undone;
                }
            }
        }
        check(db, plans, &states).await;
    }
    // Whoever is left comes to an end: nobody waits for what does not come.
    for _ in 0..100 {
        clients.iter_mut().for_each(poll);
    }
    assert!(
        clients.iter().all(Option::is_none),
        "somebody hangs: {states:?}"
    );
    check(db, plans, &states).await;

    // And the next one finds the writer free.
    db.begin().await.unwrap().commit().await.unwrap();
    let before = rows(db).await;
    drop(clients);
    let url = fixture.url();
    drop(fixture.db);
    let db = Database::open(&url).await.unwrap();
    assert_eq!(rows(&db).await, before, "kept through closing");
}

fn poll(client: &mut Option<Pin<Box<dyn Future<Output = ()> + '_>>>) {
    if let Some(future) = client {
        let outcome = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if outcome.is_ready() {
            *client = None;
        }
    }
}

/// Row ids of a client: a range of its own.
fn row(client: i64, number: i64) -> i64 {
    client * 100 + number
}

async fn live(db: &Database, client: i64, plan: Plan, state: &Mutex<State>) {
    let set = |new| *state.lock().unwrap() = new;
    let mut tx = db.begin().await.unwrap();
    for number in 0..plan.rows {
        insert(&mut tx, row(client, number)).await.unwrap();
        pause().await;
    }
    tx.enqueue(message(client));
    match plan.ending {
        Ending::Commit => {
            set(State::Committing);
            match tx.commit().await {
                Ok(()) => set(State::Acknowledged),
                Err(Error::NotCommitted { .. }) => set(State::Undone),
                Err(error) => panic!("{error:?}"),
            }
        }
        Ending::RollBack => {
            set(State::Undone);
            let own: BTreeSet<i64> = (0..plan.rows).map(|number| row(client, number)).collect();
            let read = tx.query("SELECT id FROM entry", params![]).await.unwrap();
            let read: BTreeSet<i64> = read.iter().map(|row| row.get(0).unwrap()).collect();
            if tx.rollback().await.is_ok() {
                let durable = rows(db).await.0;
                assert!(
                    durable.is_superset(&(&read - &own)),
                    "acted upon {read:?}, kept {durable:?}"
                );
            }
        }
        Ending::Drop => set(State::Undone),
        Ending::Fail | Ending::LoseGroup => {
            set(State::Undone);
            insert(&mut tx, row(client, 99)).await.unwrap();
            let verb = if plan.ending == Ending::Fail {
                "INSERT"
            } else {
                "INSERT OR ROLLBACK"
            };
            let sql = format!("{verb} INTO entry VALUES ($1, 'x')");
            let error = tx
                .execute(&sql, params![row(client, 99)])
                .await
                .unwrap_err();
            assert!(error.is_unique_violation(), "{error:?}");
            pause().await;
        }
    }
}

/// Lets the others go first.
async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut paused, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

async fn rows(db: &Database) -> (BTreeSet<i64>, BTreeSet<String>) {
    let entries = fixture::entries(db).await.into_iter().collect();
    (entries, outbox_ids(db).await.into_iter().collect())
}

/// What a reader sees agrees with what each transaction was told.
async fn check(db: &Database, plans: &[Plan], states: &[Mutex<State>]) {
    // One query for both tables, so that both are of one moment.
    let sql =
        "SELECT id FROM entry UNION ALL SELECT -1 - CAST(id AS INTEGER) FROM outrigger_outbox";
    let found = db.query(sql, params![]).await.unwrap();
    let mut found: BTreeSet<i64> = found.iter().map(|row| row.get(0).unwrap()).collect();
    for (client, plan) in plans.iter().enumerate() {
        let client_id = client as i64;
        let mut whole: BTreeSet<i64> = (0..plan.rows)
            .map(|number| row(client_id, number))
            .collect();
        whole.insert(-1 - client_id);
        let seen = whole.iter().filter(|id| found.remove(id)).count();
        let state = *states[client].lock().unwrap();
        let (all, none) = (seen == whole.len(), seen == 0);
        let agrees = match state {
            State::Open | State::Undone => none,
            State::Committing => all || none,
            State::Acknowledged => all,
        };
        assert!(
            agrees,
            "client {client}, {plan:?}, is {state:?}, and {seen} of {} are seen",
            whole.len()
        );
    }
    assert!(found.is_empty(), "rows of nobody: {found:?}");
}

/// The same on real threads, with real cancellation, where races are.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_several_threads_everything_acknowledged_is_there_and_nobody_hangs() {
    let Fixture {
        db,
        folder: _folder,
        ..
    } = Fixture::new().await;
    let next: &'static AtomicI64 = Box::leak(Box::new(AtomicI64::new(0)));
    let tasks: Vec<_> = (0..32_u64)
        .map(|task| {
            let db = db.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for round in 0..40 {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let write = async {
                        let mut tx = db.begin().await.unwrap();
                        insert(&mut tx, id).await.unwrap();
                        match (task + round) % 5 {
                            0 => tokio::task::yield_now().await,
                            1 => return false, // dropped
                            _ => {}
                        }
                        tx.commit().await.unwrap();
                        true
                    };
                    // Some lose patience: in the queue, amid a transaction, amid a commit.
                    let impatient = (task * round) % 3 == 0;
                    let limit = Duration::from_micros(if impatient { 300 } else { 60_000_000 });
                    let done = env::timeout(limit, write).await;
                    assert!(impatient || done.is_ok(), "it hangs");
                    if let Ok(true) = done {
                        acknowledged.push(id);
                    }
                }
                acknowledged
            })
        })
        .collect();
    let mut acknowledged = BTreeSet::new();
    for task in tasks {
        acknowledged.extend(task.await.unwrap());
    }
    let found: BTreeSet<i64> = fixture::entries(&db).await.into_iter().collect();
    assert!(found.is_superset(&acknowledged));
}
