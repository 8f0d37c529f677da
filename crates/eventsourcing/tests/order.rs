//! The order of all events: whatever order transactions commit in, every subscriber sees each event once, and all see
//! the same order.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod bank;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bank::{Account, AccountEvent, Bank};
use data::params;
use outrigger_eventsourcing::{
    self as eventsourcing, Append, Error, Expected, Position, Recorded, Store,
};
use rand::RngExt;
use tokio::task::JoinHandle;

on_each_engine!(
    g6_streams_no_subscriber_skips_an_event_whatever_order_transactions_commit_in,
    a_position_of_another_store_is_refused,
);

const WRITERS: u32 = 8;
const TRANSACTIONS: u32 = 40;
const SUBSCRIBERS: usize = 3;

/// What an event is, apart from its place.
type Id = (String, u64);

fn id(event: &Recorded) -> Id {
    (event.stream.clone(), event.version)
}

fn pause(most: Duration) -> Duration {
    most.mul_f64(env::random().random_range(0.0..1.0))
}

async fn g6_streams_no_subscriber_skips_an_event_whatever_order_transactions_commit_in(bank: Bank) {
    let bank = Arc::new(bank);
    let over = Arc::new(AtomicBool::new(false));
    let subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|_| tokio::spawn(subscribe(bank.store(), Arc::clone(&over))))
        .collect();
    let naive = bank
        .is_postgres()
        .then(|| tokio::spawn(naive(Arc::clone(&bank), Arc::clone(&over))));

    let writers: Vec<JoinHandle<BTreeSet<Id>>> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(Arc::clone(&bank), writer)))
        .collect();
    let mut committed = BTreeSet::new();
    for writer in writers {
        committed.extend(writer.await.unwrap());
    }
    let held_back = until_nothing_is_held_back(&bank.store()).await;
    assert_eq!(held_back, 0);
    over.store(true, Ordering::Release);

    let mut orders = Vec::new();
    for subscriber in subscribers {
        orders.push(subscriber.await.unwrap());
    }
    for seen in &orders {
        assert_eq!(seen.len(), committed.len(), "each once");
        assert_eq!(seen.iter().map(id).collect::<BTreeSet<_>>(), committed);
        assert!(seen.is_sorted_by(|one, next| one.position < next.position));
        assert_eq!(seen, &orders[0], "in one order");
        let mut versions = BTreeMap::new();
        for event in seen {
            let last: &mut u64 = versions.entry(&event.stream).or_default();
            *last += 1;
            assert_eq!(event.version, *last, "a stream in its own order");
        }
    }
    if let Some(naive) = naive {
        let naive = naive.await.unwrap();
        assert!(
            naive < committed.len(),
            "who orders by the sequence alone skips none of {naive}: this test has no teeth"
        );
    }
}

/// Reads on from what it has seen, in pages of changing sizes.
async fn subscribe(store: Store, over: Arc<AtomicBool>) -> Vec<Recorded> {
    let mut seen: Vec<Recorded> = Vec::new();
    loop {
        let last_look = over.load(Ordering::Acquire);
        let after = seen.last().map_or(Position::START, |event| event.position);
        let limit = env::random().random_range(1..20);
        let page = store.read_all(after, limit).await.unwrap();
        if page.is_empty() && last_look {
            return seen;
        }
        seen.extend(page);
        env::sleep(pause(Duration::from_millis(3))).await;
    }
}

/// What others do: order by the sequence alone. How many events it sees.
async fn naive(bank: Arc<Bank>, over: Arc<AtomicBool>) -> usize {
    let (mut seen, mut last) = (0, 0_i64);
    loop {
        let last_look = over.load(Ordering::Acquire);
        let next = "SELECT sequence FROM outrigger_events WHERE sequence > $1 ORDER BY sequence";
        let page = bank.db.query(next, params![last]).await.unwrap();
        match page.last() {
            Some(row) => last = row.get(0).unwrap(),
            None if last_look => return seen,
            None => {}
        }
        seen += page.len();
        env::sleep(pause(Duration::from_millis(3))).await;
    }
}

/// Appends in many transactions, some of which wait before they commit, and some of which roll back. What has committed.
async fn write(bank: Arc<Bank>, writer: u32) -> BTreeSet<Id> {
    let mut committed = BTreeSet::new();
    for _ in 0..TRANSACTIONS {
        // Two streams that are this writer's alone, so that nothing conflicts.
        let (stream, count, wait, commits) = {
            let mut random = env::random();
            let stream = format!("{writer}-{}", random.random_range(0..2));
            let wait = if random.random_bool(0.04) { 60 } else { 4 };
            let count = random.random_range(1..4);
            (
                stream,
                count,
                pause(Duration::from_millis(wait)),
                random.random_bool(0.85),
            )
        };
        let wait = if bank.is_postgres() { wait } else { wait / 8 };
        let events = vec![AccountEvent::Deposited(1); count];
        let mut tx = bank.db.begin().await.unwrap();
        let last = tx
            .append::<Account>(&stream, Expected::Any, &events)
            .await
            .unwrap();
        env::sleep(wait).await;
        if !commits {
            tx.rollback().await.unwrap();
            continue;
        }
        tx.commit().await.unwrap();
        let first = last + 1 - count as u64;
        committed.extend((first..=last).map(|version| (format!("account/{stream}"), version)));
    }
    committed
}

async fn until_nothing_is_held_back(store: &Store) -> u64 {
    for _ in 0..1000 {
        if store.held_back().await.unwrap().events == 0 {
            return 0;
        }
        env::sleep(Duration::from_millis(10)).await;
    }
    store.held_back().await.unwrap().events
}

async fn a_position_of_another_store_is_refused(bank: Bank) {
    bank.deposit("1", 1).await;
    let foreign = if bank.is_postgres() { "7" } else { "1234.7" };
    let refused = bank.store().read_all(foreign.parse().unwrap(), 1).await;
    assert!(
        matches!(refused, Err(Error::ForeignPosition { .. })),
        "{refused:?}"
    );
    let own = bank.all(1).await[0].position;
    assert_eq!(own.to_string().parse(), Ok(own));
    assert_eq!(serde_json::to_value(own).unwrap(), own.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_what_a_long_transaction_holds_back_is_counted_and_shown_when_it_ends() {
    let bank = Bank::postgres().await;
    let before = env::now();
    let mut long = bank.db.begin().await.unwrap();
    long.append::<Account>("long", Expected::NoStream, &[AccountEvent::Deposited(1)])
        .await
        .unwrap();
    bank.deposit("short", 2).await;
    let store = bank.store();
    assert_eq!(store.read_all(Position::START, 10).await.unwrap(), []);
    assert_eq!(
        store.load::<Account>("short").await.unwrap().version,
        1,
        "streams are not delayed"
    );
    let held_back = store.held_back().await.unwrap();
    assert_eq!(held_back.events, 1);
    // A timestamp is kept to the millisecond.
    assert!(held_back.since.unwrap().as_millisecond() >= before.as_millisecond());

    long.commit().await.unwrap();
    let order: Vec<_> = bank.all(2).await.iter().map(id).collect();
    assert_eq!(
        order,
        [
            ("account/long".to_owned(), 1),
            ("account/short".to_owned(), 1)
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_the_order_goes_on_after_a_dump_of_a_cluster_that_was_ahead() {
    let bank = Bank::postgres().await;
    bank.deposit("1", 1).await;
    bank.deposit("1", 2).await;
    // What a dump of another cluster leaves: its numbers are far ahead of this one's.
    bank.db
        .transaction(async |mut tx| {
            let ahead = "UPDATE outrigger_events SET xact = xact + 5000000000";
            tx.execute(ahead, params![]).await
        })
        .await
        .unwrap();
    assert_eq!(
        bank.store().read_all(Position::START, 10).await.unwrap(),
        []
    );

    for round in 0..2 {
        // Opening it again and again changes nothing more.
        eventsourcing::install(&bank.db).await.unwrap();
        bank.deposit("1", 3 + round).await;
        let all = bank.all(3 + usize::try_from(round).unwrap()).await;
        let versions: Vec<_> = all.iter().map(|event| event.version).collect();
        assert_eq!(
            versions,
            (1..=3 + round.cast_unsigned()).collect::<Vec<_>>()
        );
        assert!(all.is_sorted_by(|one, next| one.position < next.position));
    }
}
