//! What cannot be handled: held in order, tried again, given up, replayed, edited, dropped.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use data::{Database, Migration, Transaction, params};
use env::{BoxError, world::Entered};
use events::{
    Bus, CloudEvent, DeadLetter, DeadLetters, EmbeddedBus, Error, Handlers, consumer,
    dead_letters::{self, Filter},
};
use outrigger_events as events;
use serde_json::json;
use support::{Folder, event, eventually, follow_the_paused_clock};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const GROUP: &str = "notification-service";

/// A service that notes what it handles, and the bus that it listens to.
struct Service {
    folder: Folder,
    db: Database,
    bus: Arc<EmbeddedBus>,
    _clock: Entered,
}

struct Consumer {
    stop: CancellationToken,
    task: JoinHandle<events::Result<()>>,
}

impl Consumer {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("stopped");
    }

    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.expect_err("killed").is_cancelled());
    }
}

async fn note(tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
    let number = event.data["number"].as_i64().ok_or("no number")?;
    let insert = "INSERT INTO notes (id, number) VALUES ($1, $2)";
    tx.execute(insert, params![event.id, number]).await?;
    Ok(())
}

/// Notes what has a number below 10.
async fn note_small(tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
    if event.data["number"].as_i64() >= Some(10) {
        return Err("the number is too large".into());
    }
    note(tx, event).await
}

fn noting_small() -> Handlers {
    Handlers::new().on_raw("order.*", note_small)
}

impl Service {
    async fn new() -> Self {
        let clock = follow_the_paused_clock();
        let folder = Folder::new();
        let db = folder.database(GROUP).await;
        let sql =
            "CREATE TABLE notes (position INTEGER PRIMARY KEY, id TEXT NOT NULL, number INTEGER)";
        let notes = Migration::new(1, "notes", sql);
        db.migrate(&[notes]).await.expect("migrated");
        events::install(&db).await.expect("installed");
        Self {
            bus: folder.bus().await,
            db,
            folder,
            _clock: clock,
        }
    }

    async fn restart(&mut self) {
        self.bus = self.folder.bus().await;
        self.db = self.folder.database(GROUP).await;
    }

    async fn publish(&self, orders: &[(&str, u32)]) {
        let events = orders
            .iter()
            .map(|(key, number)| event("order.created", key, *number));
        self.bus.publish(events.collect()).await.expect("published");
    }

    fn start(&self, handlers: Handlers) -> Consumer {
        self.start_with(handlers, consumer::Options::default())
    }

    fn start_with(&self, handlers: Handlers, options: consumer::Options) -> Consumer {
        let stop = CancellationToken::new();
        let (db, bus) = (self.db.clone(), self.bus.clone());
        let run = consumer::run(db, bus, GROUP, handlers, options, stop.clone());
        let task = tokio::spawn(run);
        Consumer { stop, task }
    }

    async fn notes(&self) -> Vec<String> {
        let all = "SELECT id FROM notes ORDER BY position";
        let rows = self.db.query(all, params![]).await.expect("notes");
        rows.iter().map(|row| row.get(0).expect("a text")).collect()
    }

    async fn until_notes(&self, expected: &[&str]) {
        let noted = async || self.notes().await.len() >= expected.len();
        eventually("they are noted", noted).await;
        assert_eq!(self.notes().await, expected);
    }

    fn letters(&self) -> DeadLetters {
        DeadLetters::of(&self.db)
    }

    async fn dead(&self) -> Vec<DeadLetter> {
        let page = self.letters().list(&Filter::default(), None, 100).await;
        page.expect("listed").dead_letters
    }

    async fn until_dead(&self, count: usize) -> Vec<DeadLetter> {
        let dead = async || self.dead().await.len() >= count;
        eventually("so many are dead", dead).await;
        self.dead().await
    }

    /// How many events are kept in the database of the service, dead letters included.
    async fn deferred(&self) -> i64 {
        let count = "SELECT count(*) FROM outrigger_deferred";
        let row = self.db.query_one(count, params![]).await.expect("counted");
        row.expect("a count").get(0).expect("a number")
    }

    async fn until_nothing_waits(&self) {
        let count = "SELECT count(*) FROM outrigger_deferred WHERE due IS NOT NULL";
        let nothing = async || {
            let row = self.db.query_one(count, params![]).await.expect("counted");
            let waits: i64 = row.expect("a count").get(0).expect("a number");
            waits == 0 && self.bus.groups().await.expect("groups")[0].pending == 0
        };
        eventually("nothing waits", nothing).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_leaves_the_bus_at_once_and_holds_its_key_only() {
    let service = Service::new().await;
    let consumer = service.start(noting_small());
    service
        .publish(&[("a", 10), ("a", 1), ("b", 1), ("a", 2), ("b", 2)])
        .await;
    service.until_notes(&["b-1", "b-2"]).await;
    let on_the_bus = async || service.bus.groups().await.expect("groups")[0].pending == 0;
    eventually("the bus has done its work", on_the_bus).await;
    assert_eq!(service.deferred().await, 3);
    let dead = service.until_dead(1).await;
    assert_eq!((dead[0].event.id.as_str(), dead[0].held), ("a-10", 2));
    assert_eq!(dead[0].handlers, ["order.*"]);
    assert_eq!(service.notes().await, ["b-1", "b-2"]);
    consumer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn g4_ordered_an_edited_replay_comes_first_and_what_it_held_follows() {
    let service = Service::new().await;
    let consumer = service.start(noting_small());
    service.publish(&[("a", 10), ("a", 1), ("a", 2)]).await;
    service.until_dead(1).await;
    let letters = service.letters();
    let edited = letters.replay_edited("a-10", json!({ "number": 3 })).await;
    edited.expect("replayed");
    service.publish(&[("a", 4)]).await;
    service.until_notes(&["a-10", "a-1", "a-2", "a-4"]).await;
    service.until_nothing_waits().await;
    assert_eq!(service.deferred().await, 0);
    let gone = letters.replay_edited("a-10", json!(null)).await;
    assert!(matches!(gone, Err(Error::NoDeadLetter { .. })), "{gone:?}");
    consumer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_edited_event_says_so_and_is_kept_as_it_came() {
    let service = Service::new().await;
    let consumer = service.start(noting_small());
    service.publish(&[("a", 10)]).await;
    let came = service.until_dead(1).await.remove(0).event;
    let letters = service.letters();
    // Still too large: it dies again.
    let edited = letters.replay_edited("a-10", json!({ "number": 11 })).await;
    edited.expect("replayed");
    let letter = service.until_dead(1).await.remove(0);
    assert_eq!(letter.event.data, json!({ "number": 11 }));
    assert!(letter.event.extensions.contains_key(dead_letters::EDITED));
    assert_eq!((letter.original, letter.attempts), (Some(came), 8));
    consumer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn g3_once_a_replay_repeats_nothing_however_often_it_is_asked_for() {
    let service = Service::new().await;
    let handlers = noting_small().on_raw("order.*", note);
    let consumer = service.start(handlers);
    service.publish(&[("a", 10)]).await;
    let dead = service.until_dead(1).await;
    assert_eq!(dead[0].handlers, ["order.*"]);
    assert_eq!(service.notes().await, ["a-10"]);
    // What one of its handlers has done is known for as long as the other may be replayed.
    let now = env::now() + Duration::from_secs(3600);
    service.db.prune_inbox(now).await.expect("pruned");
    for _ in 0..2 {
        let replayed = service
            .letters()
            .replay(&Filter::kind("order.created"))
            .await;
        assert_eq!(replayed.expect("replayed"), 1);
        service.until_dead(1).await;
    }
    let nothing = service.letters().replay(&Filter::id("a-11")).await;
    assert_eq!(nothing.expect("nothing to replay"), 0);
    consumer.stop().await;
    assert_eq!(service.notes().await, ["a-10"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_dead_letter_lets_its_key_go_and_does_not_come_back() {
    let service = Service::new().await;
    let consumer = service.start(noting_small());
    service
        .publish(&[("a", 10), ("a", 11), ("a", 1), ("b", 10)])
        .await;
    service.until_dead(2).await;
    let dropped = service.letters().drop(&Filter::id("a-10")).await;
    assert_eq!(dropped.expect("dropped"), 1);
    // Its successor has its own attempts.
    let dead = async || service.dead().await.iter().any(|it| it.event.id == "a-11");
    eventually("the next is dead", dead).await;
    let dropped = service.letters().drop(&Filter::default()).await;
    assert_eq!(dropped.expect("dropped"), 2);
    service.until_notes(&["a-1"]).await;
    // A bus whose acknowledgement was lost brings it again.
    service.bus.forget(GROUP).await.expect("forgotten");
    consumer.stop().await;
    let consumer = service.start(Handlers::new().on_raw("order.*", note));
    service.publish(&[("c", 1)]).await;
    service.until_notes(&["a-1", "c-1"]).await;
    service.until_nothing_waits().await;
    consumer.stop().await;
    assert_eq!(service.notes().await, ["a-1", "c-1"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_lets_pass_holds_nothing() {
    let service = Service::new().await;
    let consumer = service.start(noting_small().or_skip());
    service.publish(&[("a", 10), ("a", 1), ("a", 2)]).await;
    service.until_notes(&["a-1", "a-2"]).await;
    let dead = service.until_dead(1).await;
    assert_eq!((dead[0].event.id.as_str(), dead[0].held), ("a-10", 0));
    service.publish(&[("a", 3)]).await;
    service.until_notes(&["a-1", "a-2", "a-3"]).await;
    consumer.stop().await;
}

/// Each time that it is handled, the process is killed; it does not take the rest of the service with it for ever.
#[tokio::test(start_paused = true)]
async fn g2_not_lost_and_no_crash_loop_when_an_event_ends_the_process_each_time() {
    async fn file(tx: &mut Transaction, _: CloudEvent, it: CloudEvent) -> Result<(), BoxError> {
        note(tx, it).await
    }
    let mut service = Service::new().await;
    service.publish(&[("a", 10), ("a", 1), ("b", 1)]).await;
    let begun = Arc::new(AtomicU32::new(0));
    let mut kills = 0;
    let consumer = loop {
        service.restart().await;
        let counting = Arc::clone(&begun);
        let hang = move |event: CloudEvent| {
            let counting = Arc::clone(&counting);
            async move {
                if event.data["number"] == 10 {
                    counting.fetch_add(1, Relaxed);
                    std::future::pending::<()>().await;
                }
                Ok(event)
            }
        };
        let handlers = Handlers::new().on_raw_prepared("order.*", hang, file);
        let options = consumer::Options {
            max_deliveries: 3,
            handler_limit: Duration::from_secs(1),
            ..consumer::Options::default()
        };
        let consumer = service.start_with(handlers, options);
        let before = begun.load(Relaxed);
        let over = async || begun.load(Relaxed) > before || !service.dead().await.is_empty();
        eventually("it is begun or dead", over).await;
        if begun.load(Relaxed) == before {
            break consumer;
        }
        kills += 1;
        assert!(kills < 20, "it never ends");
        consumer.kill().await;
    };
    let dead = service.until_dead(1).await;
    assert!(
        dead[0].error.contains("begun 3 times and never ended"),
        "{}",
        dead[0].error
    );
    // Twice straight from the bus, whose first delivery nobody counted, then as often as any event.
    assert!((5..=6).contains(&kills), "{kills}");
    let dropped = service.letters().drop(&Filter::default()).await;
    assert_eq!(dropped.expect("dropped"), 1);
    let noted = async || service.notes().await.len() == 2;
    eventually("the rest is handled", noted).await;
    consumer.stop().await;
}

/// A handler that only a newer version has is not taken for done by an older one.
#[tokio::test(start_paused = true)]
async fn g2_not_lost_a_handler_that_the_older_version_does_not_have() {
    async fn fail(_: &mut Transaction, _: CloudEvent) -> Result<(), BoxError> {
        Err("not yet".into())
    }
    async fn audit(tx: &mut Transaction, mut event: CloudEvent) -> Result<(), BoxError> {
        event.id = format!("audit {}", event.id);
        note(tx, event).await
    }
    let service = Service::new().await;
    let older = || Handlers::new().on_raw("order.created", note);
    let newer = service.start(older().on_raw("order.created", fail));
    service.publish(&[("a", 1), ("a", 2)]).await;
    eventually("both wait", async || service.deferred().await == 2).await;
    newer.stop().await;
    let older_one = service.start(older());
    env::sleep(Duration::from_secs(600)).await;
    assert_eq!(service.deferred().await, 2);
    let newer = service.start(older().on_raw("order.created", audit));
    service
        .until_notes(&["a-1", "audit a-1", "a-2", "audit a-2"])
        .await;
    older_one.stop().await;
    newer.stop().await;
}

/// However long it takes, and however many replicas look.
#[tokio::test(start_paused = true)]
async fn what_takes_long_is_claimed_by_one_alone() {
    async fn file(tx: &mut Transaction, _: CloudEvent, it: CloudEvent) -> Result<(), BoxError> {
        note(tx, it).await
    }
    let service = Service::new().await;
    let begun = Arc::new(AtomicU32::new(0));
    let slow = || {
        let begun = Arc::clone(&begun);
        move |event: CloudEvent| {
            let begun = Arc::clone(&begun);
            async move {
                if begun.fetch_add(1, Relaxed) == 0 {
                    return Err("the first time it fails".into());
                }
                env::sleep(Duration::from_secs(29)).await;
                Ok(event)
            }
        }
    };
    let handlers = || {
        let none = |_| async { Ok(()) };
        async fn nothing(_: &mut Transaction, _: CloudEvent, (): ()) -> Result<(), BoxError> {
            env::sleep(Duration::from_secs(29)).await;
            Err("and they too".into())
        }
        let mut handlers = Handlers::new().on_raw_prepared("order.*", slow(), file);
        for _ in 0..3 {
            handlers = handlers.on_raw_prepared("order.*", none, nothing);
        }
        handlers
    };
    let options = || consumer::Options {
        max_deliveries: 2,
        ..consumer::Options::default()
    };
    let consumers = [(); 2].map(|()| service.start_with(handlers(), options()));
    service.publish(&[("a", 1)]).await;
    // Three of them from the bus, and then all four.
    env::sleep(Duration::from_secs(7 * 29)).await;
    let dead = service.until_dead(1).await;
    assert_eq!(
        (dead[0].attempts, dead[0].error.as_str()),
        (2, "and they too")
    );
    assert_eq!(begun.load(Relaxed), 2);
    for consumer in consumers {
        consumer.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_comes_in_pages() {
    let service = Service::new().await;
    let consumer = service.start(noting_small());
    let keys: Vec<String> = (100..125).map(|key| key.to_string()).collect();
    let orders: Vec<(&str, u32)> = keys.iter().map(|key| (key.as_str(), 10)).collect();
    service.publish(&orders).await;
    service.until_dead(25).await;
    consumer.stop().await;
    let (letters, created) = (service.letters(), Filter::kind("order.created"));
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = letters.list(&created, after.as_ref(), 10).await;
        let page = page.expect("listed");
        assert!(page.dead_letters.len() <= 10);
        seen.extend(page.dead_letters.into_iter().map(|it| it.event.id));
        // As it goes over the wire.
        let Some(next) = page.next else { break };
        after = Some(next.to_string().parse().expect("a cursor"));
    }
    let expected: Vec<String> = keys.iter().map(|key| format!("{key}-10")).collect();
    assert_eq!(seen, expected);
    let other = service
        .letters()
        .list(&Filter::kind("order.paid"), None, 10)
        .await;
    assert!(other.expect("listed").dead_letters.is_empty());
    let missing = service.letters().show("nobody").await;
    assert!(
        matches!(missing, Err(Error::NoDeadLetter { .. })),
        "{missing:?}"
    );
    assert_eq!(
        service.letters().show("100-10").await.expect("shown").group,
        GROUP
    );
}
