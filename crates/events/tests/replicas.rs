//! Several replicas of a service on one PostgreSQL database, with either bus: once and in order, though handlers fail and keys wait.

mod conformance;
mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use data::{Database, Migration, Transaction, params};
use env::BoxError;
use events::{
    Backoff, Bus, CloudEvent, DeadLetters, Handlers, NatsBus, consumer, dead_letters::Filter, nats,
};
use outrigger_events as events;
use servers::{Nats, Postgres};
use support::{Folder, event, eventually};
use tokio_util::sync::CancellationToken;

const GROUP: &str = "notification-service";
const REPLICAS: usize = 3;
const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const NUMBERS: u32 = 30;
const NOTES: &[Migration] = &[Migration::new(
    1,
    "notes",
    "CREATE TABLE notes (position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id TEXT NOT NULL)",
)];

/// Fails some events once, some always until they are replayed.
#[derive(Default)]
struct Trouble {
    tries: BTreeMap<String, u32>,
    repaired: bool,
}

async fn replica(url: &str) -> Database {
    let db = Database::open(url).await.expect("a database");
    let db = db.owned_by(GROUP);
    db.migrate(NOTES).await.expect("migrated");
    db
}

async fn numbers(db: &Database, sql: &str) -> i64 {
    let row = db.query_one(sql, params![]).await.expect("a number");
    row.expect("a row").get(0).expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g3_once_and_g4_ordered_on_postgresql_whatever_fails() {
    let folder = Folder::new();
    let bus: Arc<dyn Bus> = folder.bus().await;
    whatever_fails(&vec![bus; REPLICAS]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g3_once_and_g4_ordered_on_postgresql_and_nats_whatever_fails() {
    let server = Nats::start(servers::nats::Options::default()).await;
    let server = server.expect("a server");
    let mut connections = Vec::new();
    for _ in 0..REPLICAS {
        connections.push(connect(&server).await);
    }
    whatever_fails(&connections).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g2_not_lost_and_g4_ordered_while_two_versions_run_on_postgresql_and_nats() {
    support::real_time();
    let postgres = Postgres::start().await.expect("a server");
    let url = postgres.database("versions").await.expect("a database");
    let db = Database::open(&url).await.expect("open").owned_by(GROUP);
    let nats = Nats::start(servers::nats::Options::default()).await;
    let nats = nats.expect("a server");
    conformance::two_versions_run(connect(&nats).await, db).await;
}

async fn connect(server: &Nats) -> Arc<dyn Bus> {
    let bus = NatsBus::connect(&server.url(), nats::Options::default()).await;
    Arc::new(bus.expect("a bus"))
}

/// A replica for each of `buses`, which are connections to one.
async fn whatever_fails(buses: &[Arc<dyn Bus>]) {
    let server = Postgres::start().await.expect("a server");
    let url = server.database("replicas").await.expect("a database");
    let bus = &buses[0];
    let trouble = Arc::new(Mutex::new(Trouble::default()));
    let stop = CancellationToken::new();
    let mut tasks = Vec::new();
    let mut dbs = Vec::new();
    for bus in buses {
        let db = replica(&url).await;
        let told = Arc::clone(&trouble);
        let check = move |event: CloudEvent| {
            let told = Arc::clone(&told);
            async move {
                let mut trouble = told.lock().expect("no panic");
                let number = event.data["number"].as_u64().ok_or("no number")?;
                let tries = trouble.tries.entry(event.id.clone()).or_default();
                *tries += 1;
                let fails = match number % 10 {
                    3 => *tries == 1,
                    7 => !trouble.repaired,
                    _ => false,
                };
                if fails { Err("trouble".into()) } else { Ok(()) }
            }
        };
        async fn note(tx: &mut Transaction, event: CloudEvent, (): ()) -> Result<(), BoxError> {
            let insert = "INSERT INTO notes (id) VALUES ($1)";
            tx.execute(insert, params![event.id]).await?;
            Ok(())
        }
        let handlers = Handlers::new().on_raw_prepared("order.*", check, note);
        let options = consumer::Options {
            max_deliveries: 3,
            backoff: Backoff {
                base: Duration::from_millis(1),
                limit: Duration::from_millis(10),
            },
            ..consumer::Options::default()
        };
        let (bus, stop) = (Arc::clone(bus), stop.clone());
        let consumed = db.clone();
        tasks.push(tokio::spawn(async move {
            consumer::run(consumed, bus, GROUP, handlers, options, stop).await
        }));
        dbs.push(db);
    }
    for number in 0..NUMBERS {
        let batch = KEYS.map(|key| event("order.created", key, number));
        bus.publish(batch.to_vec()).await.expect("published");
    }
    let db = &dbs[0];
    eventually("every key waits behind its dead letter", async || {
        let taken =
            "SELECT (SELECT count(*) FROM notes) + (SELECT count(*) FROM outrigger_deferred)";
        let waits = "SELECT count(*) FROM outrigger_deferred WHERE due IS NOT NULL";
        let total = KEYS.len() as i64 * i64::from(NUMBERS);
        numbers(db, waits).await == 0 && numbers(db, taken).await == total
    })
    .await;
    let dead = "SELECT count(*) FROM outrigger_deferred WHERE dead_at IS NOT NULL";
    assert_eq!(numbers(db, dead).await, KEYS.len() as i64);

    // All of them are replayed while more arrives: what is released meets what comes behind it.
    trouble.lock().expect("no panic").repaired = true;
    let letters = DeadLetters::of(db);
    let replayed = letters.replay(&Filter::kind("order.created")).await;
    assert_eq!(replayed.expect("replayed"), KEYS.len() as u64);
    for number in NUMBERS..2 * NUMBERS {
        let batch = KEYS.map(|key| event("order.created", key, number));
        bus.publish(batch.to_vec()).await.expect("published");
    }
    let total = KEYS.len() as i64 * i64::from(2 * NUMBERS);
    let noted = async || numbers(db, "SELECT count(*) FROM notes").await >= total;
    eventually("everything is noted", noted).await;
    let left = async || numbers(db, "SELECT count(*) FROM outrigger_deferred").await == 0;
    eventually("nothing is left", left).await;
    stop.cancel();
    for task in tasks {
        task.await.expect("no panic").expect("stopped");
    }

    let all = "SELECT id FROM notes ORDER BY position";
    let rows = db.query(all, params![]).await.expect("notes");
    let ids: Vec<String> = rows.iter().map(|row| row.get(0).expect("an id")).collect();
    for key in KEYS {
        let of_key = ids.iter().filter(|id| id.starts_with(key));
        let expected: Vec<String> = (0..2 * NUMBERS).map(|it| format!("{key}-{it}")).collect();
        assert!(of_key.eq(&expected), "{key}: {ids:?}");
    }
}

/// Looking for what is due needs a connection, and so do those who handle it: none may wait for one that only another
/// of them can give back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deferred_is_handled_through_a_single_connection() {
    const ONE_ATTEMPT: Duration = Duration::from_secs(10);
    let server = Postgres::start().await.expect("a server");
    let url = server.database("single").await.expect("a database");
    let joint = if url.contains('?') { '&' } else { '?' };
    let db = replica(&format!("{url}{joint}pool_size=1")).await;
    let folder = Folder::new();
    let bus = folder.bus().await;
    let met = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let fail_once = move |event: CloudEvent| {
        let met = Arc::clone(&met);
        async move {
            let mut met = met.lock().expect("no panic");
            let tries = met.entry(event.id).or_default();
            *tries += 1;
            if *tries == 1 {
                Err("trouble".into())
            } else {
                Ok(())
            }
        }
    };
    async fn note_slowly(tx: &mut Transaction, event: CloudEvent, (): ()) -> Result<(), BoxError> {
        for _ in 0..5 {
            tx.query("SELECT 1 AS one", params![]).await?;
        }
        let insert = "INSERT INTO notes (id) VALUES ($1)";
        tx.execute(insert, params![event.id]).await?;
        Ok(())
    }
    let handlers = Handlers::new().on_raw_prepared("order.*", fail_once, note_slowly);
    let options = consumer::Options {
        handler_limit: ONE_ATTEMPT,
        max_deliveries: 2,
        backoff: Backoff {
            base: Duration::from_millis(1),
            limit: Duration::from_millis(10),
        },
        ..consumer::Options::default()
    };
    let stop = CancellationToken::new();
    let (consumed, subscribed, stopped) = (db.clone(), bus.clone(), stop.clone());
    let task = tokio::spawn(async move {
        consumer::run(consumed, subscribed, GROUP, handlers, options, stopped).await
    });
    let total = 50 * KEYS.len() as i64;
    for number in 0..50 {
        let batch = KEYS.map(|key| event("order.created", key, number));
        bus.publish(batch.to_vec()).await.expect("published");
    }
    eventually("everything is noted, or given up", async || {
        let dead = "(SELECT count(*) FROM outrigger_deferred WHERE dead_at IS NOT NULL)";
        let ended = format!("SELECT count(*) + {dead} FROM notes");
        numbers(&db, &ended).await >= total
    })
    .await;
    assert_eq!(numbers(&db, "SELECT count(*) FROM notes").await, total);
    stop.cancel();
    task.await.expect("no panic").expect("stopped");
}
