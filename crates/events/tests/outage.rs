//! What is larger than it may be, and what is away: nothing is lost, and it is said what is the matter.

mod support;

use std::{sync::Arc, time::Duration};

use data::{Database, Migration, Transaction, params};
use env::BoxError;
use events::{Backoff, Bus, CloudEvent, Error, Handlers, NatsBus, Publish, consumer, nats, relay};
use outrigger_events as events;
use servers::{Nats, Postgres};
use support::{Folder, drain, event, eventually, real_time, take};
use tokio_util::sync::CancellationToken;

const NOTES: &[Migration] = &[Migration::new(
    1,
    "notes",
    "CREATE TABLE notes (position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id TEXT NOT NULL)",
)];

async fn commit(db: &Database, events: impl IntoIterator<Item = CloudEvent>) {
    let mut tx = db.begin().await.expect("begun");
    for mut event in events {
        // Its own, so that it is numbered.
        event.source.clear();
        tx.publish_raw(event).expect("published");
    }
    tx.commit().await.expect("committed");
}

fn orders(numbers: std::ops::Range<u32>) -> impl Iterator<Item = CloudEvent> {
    numbers.map(|number| event("order.created", "a", number))
}

fn ids(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("a-{number}")).collect()
}

async fn until_sent(db: &Database) {
    let sent = async || db.outbox_backlog().await.is_ok_and(|unsent| unsent == 0);
    eventually("everything is sent", sent).await;
}

#[tokio::test]
async fn what_is_too_large_fails_where_it_is_published_and_names_the_limit() {
    let folder = Folder::new();
    let db = folder
        .database("order-service")
        .await
        .limiting_messages(1000);
    let mut tx = db.begin().await.expect("begun");
    let mut large = event("order.created", "a", 1);
    large.data = serde_json::json!("x".repeat(1000));
    let error = tx.publish_raw(large).expect_err("too large");
    assert!(
        matches!(error, Error::TooLarge { limit: 1000, .. }),
        "{error:?}"
    );
    let said = error.to_string();
    assert!(
        said.contains("a-1") && said.contains("at most 1000"),
        "{said}"
    );
    // The transaction is as it was.
    tx.publish_raw(event("order.created", "a", 2))
        .expect("published");
    tx.commit().await.expect("committed");
    assert_eq!(db.outbox_backlog().await.expect("counted"), 1);
}

#[tokio::test]
async fn what_a_smaller_nats_refuses_is_set_aside_and_the_rest_of_its_batch_arrives() {
    real_time();
    let server = Nats::start(servers::nats::Options {
        max_payload: Some(4096),
        ..servers::nats::Options::default()
    })
    .await
    .expect("a server");
    let bus = NatsBus::connect(&server.url(), nats::Options::default()).await;
    let bus: Arc<dyn Bus> = Arc::new(bus.expect("a bus"));
    let folder = Folder::new();
    let db = folder.database("order-service").await;
    let mut large = event("order.created", "a", 1);
    large.data = serde_json::json!("x".repeat(5000));
    commit(&db, [event("order.created", "a", 0), large]).await;
    commit(&db, orders(2..4)).await;
    let (stop, options) = (CancellationToken::new(), relay::Options::default());
    tokio::spawn(relay::run(db.clone(), bus.clone(), options, stop));
    until_sent(&db).await;
    let types = ["order.*".to_owned()];
    let all = bus.subscribe("all", &types).await.expect("subscribed");
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let taken = take(all.as_ref(), 1).await;
        let number = taken[0].event.extensions["sequence"].clone();
        numbers.push((taken[0].event.id.clone(), number));
        all.ack(&taken[0]).await.expect("acknowledged");
    }
    let number = |id: &str, number: &str| (id.to_owned(), number.into());
    assert_eq!(
        numbers,
        [number("a-0", "1"), number("a-2", "3"), number("a-3", "4")]
    );
    let refused = db.outbox_refused(10).await.expect("listed");
    assert_eq!(refused.len(), 1);
    assert!(refused[0].error.contains("at most 4096"), "{refused:?}");
}

#[tokio::test]
async fn g2_not_lost_while_nats_is_away_at_the_start_and_in_the_middle() {
    real_time();
    let options = servers::nats::Options {
        sync_always: true,
        ..servers::nats::Options::default()
    };
    let mut server = Nats::start(options).await.expect("a server");
    server.kill().await;
    let options = nats::Options {
        timeout: Duration::from_millis(300),
        ..nats::Options::default()
    };
    let bus = NatsBus::connect(&server.url(), options).await;
    let bus: Arc<dyn Bus> = Arc::new(bus.expect("a bus"));
    let folder = Folder::new();
    let db = folder.database("order-service").await;
    let (stop, options) = (CancellationToken::new(), relay::Options::default());
    tokio::spawn(relay::run(db.clone(), bus.clone(), options, stop));
    commit(&db, orders(0..10)).await;
    server.restart().await.expect("restarted");
    until_sent(&db).await;
    commit(&db, orders(10..600)).await;
    server.kill().await;
    commit(&db, orders(600..700)).await;
    server.restart().await.expect("restarted");
    until_sent(&db).await;
    let types = ["order.*".to_owned()];
    let all = bus.subscribe("all", &types).await.expect("subscribed");
    assert_eq!(drain(all.as_ref()).await, ids(0..700));
}

async fn note(tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
    let insert = "INSERT INTO notes (id) VALUES ($1)";
    tx.execute(insert, params![event.id]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g2_not_lost_and_g3_once_though_postgresql_is_killed_under_relay_and_consumer() {
    let mut server = Postgres::start().await.expect("a server");
    let mut open = Vec::new();
    for name in ["orders", "notices"] {
        let url = server.database(name).await.expect("a database");
        open.push(Database::open(&url).await.expect("open").owned_by(name));
    }
    let [orders_db, notices]: [Database; 2] = open.try_into().expect("two");
    notices.migrate(NOTES).await.expect("migrated");
    let folder = Folder::new();
    let bus = folder.bus().await;
    let (stop, options) = (CancellationToken::new(), relay::Options::default());
    tokio::spawn(relay::run(
        orders_db.clone(),
        bus.clone(),
        options,
        stop.clone(),
    ));
    let (handled, subscribed) = (notices.clone(), bus.clone());
    tokio::spawn(async move {
        let handlers = Handlers::new().on_raw("order.*", note);
        let options = consumer::Options {
            backoff: Backoff {
                limit: Duration::from_secs(1),
                ..Backoff::default()
            },
            ..consumer::Options::default()
        };
        consumer::run(handled, subscribed, "notices", handlers, options, stop).await
    });
    let mut published = 0;
    for _ in 0..3 {
        commit(&orders_db, orders(published..published + 300)).await;
        published += 300;
        let begun = async || {
            let row = notices
                .query_one("SELECT count(*) FROM notes", params![])
                .await;
            let noted = row.ok().flatten().and_then(|row| row.get::<u32>(0).ok());
            noted.is_some_and(|noted| noted > published - 300)
        };
        eventually("some of it is handled", begun).await;
        server.kill().await.expect("killed");
        server.restart().await.expect("restarted");
    }
    let all = async || {
        let rows = notices
            .query("SELECT id FROM notes ORDER BY position", params![])
            .await;
        rows.map(|rows| {
            rows.iter()
                .map(|row| row.get(0).expect("an id"))
                .collect::<Vec<String>>()
        })
    };
    let whole = async || {
        all()
            .await
            .is_ok_and(|notes| notes.len() >= published as usize)
    };
    eventually("everything is handled", whole).await;
    assert_eq!(all().await.expect("notes"), ids(0..published));
    let letters = events::DeadLetters::of(&notices);
    let page = letters
        .list(&events::dead_letters::Filter::default(), None, 10)
        .await;
    assert!(page.expect("listed").dead_letters.is_empty());
    assert_eq!(orders_db.outbox_backlog().await.expect("counted"), 0);
}
