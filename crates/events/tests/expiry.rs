//! Events that expire: handled while there is time, with what is left of it; afterwards dropped, with a record.

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use data::{Database, Migration, Transaction, params};
use env::{BoxError, RequestContext};
use events::{
    Bus, CloudEvent, DeadLetters, EmbeddedBus, Handlers,
    consumer::{self, Options, Outcome},
    dead_letters::Filter,
};
use outrigger_events as events;
use support::{Folder, event, eventually, follow_the_paused_clock};
use tokio_util::sync::{CancellationToken, DropGuard};

const GROUP: &str = "notification-service";
/// Shorter than all attempts at an event take.
const LIMIT: Duration = Duration::from_secs(5);

struct Service {
    db: Database,
    bus: Arc<EmbeddedBus>,
    seen: Arc<Mutex<Vec<Outcome>>>,
    _folder: Folder,
}

impl Service {
    async fn new() -> Self {
        let folder = Folder::new();
        let db = folder.database(GROUP).await;
        let sql = "CREATE TABLE notes (position INTEGER PRIMARY KEY, text TEXT NOT NULL)";
        let notes = [Migration::new(1, "notes", sql)];
        db.migrate(&notes).await.expect("migrated");
        events::install(&db).await.expect("installed");
        Self {
            db,
            bus: folder.bus().await,
            seen: Arc::default(),
            _folder: folder,
        }
    }

    async fn publish(&self, events: Vec<CloudEvent>) {
        self.bus.publish(events).await.expect("published");
    }

    fn serve(&self, handlers: Handlers) -> DropGuard {
        let seen = Arc::clone(&self.seen);
        let options = Options {
            observer: Some(Arc::new(move |it| {
                seen.lock().expect("no panic").push(it.outcome);
            })),
            ..Options::default()
        };
        let (db, bus, stop) = (self.db.clone(), self.bus.clone(), CancellationToken::new());
        let stopped = stop.clone();
        tokio::spawn(
            async move { consumer::run(db, bus, GROUP, handlers, options, stopped).await },
        );
        stop.drop_guard()
    }

    async fn notes(&self) -> Vec<String> {
        let all = "SELECT text FROM notes ORDER BY position";
        let rows = self.db.query(all, params![]).await.expect("notes");
        rows.iter().map(|row| row.get(0).expect("a text")).collect()
    }

    async fn until_notes(&self, expected: &[&str]) {
        eventually("it is noted", async || self.notes().await == expected).await;
    }

    async fn letters(&self, expired: bool) -> Vec<events::DeadLetter> {
        let filter = Filter {
            expired,
            ..Filter::default()
        };
        let page = DeadLetters::of(&self.db).list(&filter, None, 10).await;
        page.expect("a page").dead_letters
    }
}

async fn write(tx: &mut Transaction, text: String) -> Result<(), BoxError> {
    tx.execute("INSERT INTO notes (text) VALUES ($1)", params![text])
        .await?;
    Ok(())
}

async fn note(tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
    let left = RequestContext::current().remaining();
    let left = left.map_or_else(
        || "for ever".to_owned(),
        |left| format!("{}s", left.as_secs()),
    );
    write(tx, format!("{} {left}", event.data["number"])).await
}

async fn fail(_: &mut Transaction, _: CloudEvent) -> Result<(), BoxError> {
    Err("no".into())
}

async fn too_late(tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
    write(tx, format!("{} too late", event.data["number"])).await
}

fn expiring(key: &str, number: u32) -> CloudEvent {
    event("order.created", key, number).expiring_in(LIMIT)
}

#[tokio::test(start_paused = true)]
async fn a_handler_has_what_is_left_of_the_time_for_its_deadline() {
    let _clock = follow_the_paused_clock();
    let service = Service::new().await;
    let lasting = event("order.created", "b", 2);
    service.publish(vec![expiring("a", 1), lasting]).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    let _serving = service.serve(Handlers::new().on_raw("order.created", note));
    eventually("both are noted", async || service.notes().await.len() == 2).await;
    let mut notes = service.notes().await;
    notes.sort();
    assert!(["1 3s", "1 2s"].contains(&notes[0].as_str()), "{notes:?}");
    assert_eq!(notes[1], "2 for ever");
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_is_not_handled_but_recorded_and_holds_nothing_up() {
    let _clock = follow_the_paused_clock();
    let service = Service::new().await;
    let late = expiring("a", 1);
    let id = late.id.clone();
    service
        .publish(vec![late, event("order.created", "a", 2)])
        .await;
    tokio::time::advance(LIMIT).await;
    let _serving = service.serve(Handlers::new().on_raw("order.created", note));
    service.until_notes(&["2 for ever"]).await;
    let letters = service.letters(true).await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(
        (letter.event.id.as_str(), letter.attempts, letter.held),
        (id.as_str(), 0, 0)
    );
    assert!(
        letter.error.starts_with("it expired at "),
        "{}",
        letter.error
    );
    assert!(
        service
            .seen
            .lock()
            .expect("no panic")
            .contains(&Outcome::Expired)
    );

    // An operator says that it is worth doing all the same.
    let replayed = DeadLetters::of(&service.db).replay(&Filter::id(&id)).await;
    assert_eq!(replayed.expect("replayed"), 1);
    service.until_notes(&["2 for ever", "1 for ever"]).await;
    eventually("it is done with", async || {
        service.letters(false).await.is_empty()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_while_there_is_time_and_no_longer() {
    let _clock = follow_the_paused_clock();
    let service = Service::new().await;
    service
        .publish(vec![expiring("a", 1), event("order.created", "a", 2)])
        .await;
    let started = env::instant();
    let options = Options::default();
    let _serving = service.serve(Handlers::new().on_raw("order.created", fail));
    eventually("it is given up", async || {
        !service.letters(true).await.is_empty()
    })
    .await;
    let took = env::instant() - started;
    assert!(took >= LIMIT && took < LIMIT * 2, "{took:?}");
    let letters = service.letters(true).await;
    assert_eq!(letters[0].event.data["number"], 1);
    assert!(
        (1..options.max_deliveries).contains(&letters[0].attempts),
        "{letters:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_deal_with_what_came_too_late() {
    let _clock = follow_the_paused_clock();
    let service = Service::new().await;
    service.publish(vec![expiring("a", 1)]).await;
    tokio::time::advance(LIMIT).await;
    let handlers = |handlers: Handlers| handlers.or_expired(too_late);
    {
        let _serving = service.serve(handlers(Handlers::new().on_raw("order.created", note)));
        service.until_notes(&["1 too late"]).await;
    }
    let _serving = service.serve(handlers(Handlers::new().on_raw("order.created", fail)));
    service.publish(vec![expiring("a", 2)]).await;
    let notes = ["1 too late", "2 too late"];
    service.until_notes(&notes).await;
    assert!(service.letters(false).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_handled_and_comes_again_too_late_is_a_duplicate() {
    let _clock = follow_the_paused_clock();
    let service = Service::new().await;
    let on_time = expiring("a", 1);
    service.publish(vec![on_time.clone()]).await;
    let handlers = || Handlers::new().on_raw("order.created", note);
    {
        let _serving = service.serve(handlers());
        eventually("it is noted", async || service.notes().await.len() == 1).await;
    }
    tokio::time::advance(LIMIT).await;
    let since = env::Timestamp::UNIX_EPOCH;
    let rewound = events::rewind(&service.db, service.bus.as_ref(), GROUP, since, &[]).await;
    rewound.expect("rewound");
    let _serving = service.serve(handlers());
    let duplicate = async || {
        service
            .seen
            .lock()
            .expect("no panic")
            .contains(&Outcome::Duplicate)
    };
    eventually("it comes again", duplicate).await;
    assert!(service.letters(false).await.is_empty());
    assert_eq!(service.notes().await.len(), 1);
}
