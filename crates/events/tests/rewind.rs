//! A service that goes back on the bus.

mod support;

use std::sync::Arc;

use data::{Database, Migration, Transaction, params};
use env::BoxError;
use events::{Bus, CloudEvent, EmbeddedBus, Handlers, consumer};
use outrigger_events as events;
use support::{Folder, event, eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const GROUP: &str = "notification-service";

struct Service {
    db: Database,
    bus: Arc<EmbeddedBus>,
    stop: CancellationToken,
    running: JoinHandle<events::Result<()>>,
    _folder: Folder,
}

async fn note(tx: &mut Transaction, event: CloudEvent, handler: &str) -> Result<(), BoxError> {
    let insert = "INSERT INTO notes (text) VALUES ($1)";
    tx.execute(insert, params![format!("{handler} {}", event.id)])
        .await?;
    Ok(())
}

async fn created(tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
    note(tx, event, "created").await
}

async fn any(tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
    if event.id == "bad-1" {
        return Err("it cannot be handled".into());
    }
    note(tx, event, "any").await
}

impl Service {
    async fn start() -> Self {
        let folder = Folder::new();
        let db = folder.database(GROUP).await;
        let sql = "CREATE TABLE notes (position INTEGER PRIMARY KEY, text TEXT NOT NULL)";
        let notes = Migration::new(1, "notes", sql);
        db.migrate(&[notes]).await.expect("migrated");
        events::install(&db).await.expect("installed");
        let bus = folder.bus().await;
        let handlers = Handlers::new()
            .on_raw("order.created", created)
            .on_raw("order.*", any);
        let options = consumer::Options {
            max_deliveries: 1,
            ..consumer::Options::default()
        };
        let stop = CancellationToken::new();
        let (own, shared, stopping) = (db.clone(), bus.clone(), stop.clone());
        let running =
            async move { consumer::run(own, shared, GROUP, handlers, options, stopping).await };
        Self {
            db,
            bus,
            stop,
            running: tokio::spawn(running),
            _folder: folder,
        }
    }

    async fn publish(&self, keys: &[&str]) {
        let events = keys.iter().map(|key| event("order.created", key, 1));
        self.bus.publish(events.collect()).await.expect("published");
    }

    /// Goes back to the beginning, and waits until all has been handled.
    async fn rewind(&self, again: &[&str]) {
        let again: Vec<String> = again.iter().map(|it| (*it).to_owned()).collect();
        let since = env::Timestamp::UNIX_EPOCH;
        let rewound = events::rewind(&self.db, self.bus.as_ref(), GROUP, since, &again).await;
        rewound.expect("taken back");
        self.until_quiet().await;
    }

    async fn until_quiet(&self) {
        eventually("all is handled", async || {
            let groups = self.bus.groups().await.expect("groups");
            groups.iter().all(|group| group.pending == 0)
        })
        .await;
    }

    async fn notes(&self) -> Vec<String> {
        let all = "SELECT text FROM notes ORDER BY position";
        let rows = self.db.query(all, params![]).await.expect("notes");
        rows.iter().map(|row| row.get(0).expect("a text")).collect()
    }

    async fn dead(&self) -> i64 {
        let dead = "SELECT count(*) FROM outrigger_deferred WHERE dead_at IS NOT NULL";
        let row = self.db.query_one(dead, params![]).await.expect("counted");
        row.expect("a count").get(0).expect("a number")
    }

    async fn end(self) {
        self.stop.cancel();
        let ended = self.running.await.expect("it does not panic");
        ended.expect("it ends well");
    }
}

/// What was handled has no effect again; what was lost with a part of the database comes back.
#[tokio::test(start_paused = true)]
async fn g3_once_going_back_brings_only_what_was_lost() {
    let service = Service::start().await;
    service.publish(&["a", "b"]).await;
    eventually("all is handled", async || service.notes().await.len() == 4).await;
    service.rewind(&[]).await;
    assert_eq!(service.notes().await.len(), 4);

    // As after a backup was restored.
    for lost in [
        "DELETE FROM notes WHERE text LIKE '% b-1'",
        "DELETE FROM outrigger_inbox WHERE message_id = 'b-1'",
    ] {
        let mut tx = service.db.begin().await.expect("begun");
        tx.execute(lost, params![]).await.expect("deleted");
        tx.commit().await.expect("committed");
    }
    service.rewind(&[]).await;
    let mut notes = service.notes().await;
    notes.sort();
    assert_eq!(notes, ["any a-1", "any b-1", "created a-1", "created b-1"]);
    service.end().await;
}

/// A handler that is named handles everything again; the others do not.
#[tokio::test(start_paused = true)]
async fn a_handler_that_is_named_handles_again() {
    let service = Service::start().await;
    service.publish(&["a", "b"]).await;
    eventually("all is handled", async || service.notes().await.len() == 4).await;
    service.rewind(&["order.created"]).await;
    let notes = service.notes().await;
    let of = |handler: &str| notes.iter().filter(|it| it.starts_with(handler)).count();
    assert_eq!((of("created"), of("any")), (4, 2), "{notes:?}");
    service.end().await;
}

/// What is a dead letter stays one, once; what was one and is no more is handled again.
#[tokio::test(start_paused = true)]
async fn dead_letters_stay_what_they_are() {
    let service = Service::start().await;
    service.publish(&["bad"]).await;
    eventually("it is dead", async || service.dead().await == 1).await;
    assert_eq!(service.notes().await, ["created bad-1"]);
    service.rewind(&["order.created"]).await;
    assert_eq!((service.dead().await, service.notes().await.len()), (1, 1));

    let letters = events::DeadLetters::of(&service.db);
    let all = events::dead_letters::Filter::id("bad-1");
    assert_eq!(letters.drop(&all).await.expect("dropped"), 1);
    service.rewind(&["order.created"]).await;
    eventually("it is dead again", async || service.dead().await == 1).await;
    let handled_again = ["created bad-1", "created bad-1"];
    assert_eq!(service.notes().await, handled_again);
    service.end().await;
}
