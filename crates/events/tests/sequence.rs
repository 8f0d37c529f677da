//! The numbers of events: that what a bus has lost is noticed, and that nothing else is.

mod support;

use std::{sync::Arc, time::Duration};

use data::{Database, Transaction, params};
use env::BoxError;
use events::{
    Bus, CloudEvent, EmbeddedBus, Handlers, Publish, consumer, relay,
    sequence::{self, EXTENSION, Gap},
};
use outrigger_events as events;
use servers::Postgres;
use support::{Folder, eventually, follow_the_paused_clock, soon, take};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const GROUP: &str = "notification-service";

/// An event about `key`, with the number that its producer gave it.
fn numbered(key: &str, number: i64) -> CloudEvent {
    let mut event = CloudEvent::new("order.created", key, serde_json::json!(number));
    event.source = "order-service".to_owned();
    let number = number.to_string().into();
    event.extensions.insert(EXTENSION.to_owned(), number);
    event
}

async fn count(tx: &mut Transaction, _: CloudEvent) -> Result<(), BoxError> {
    let count =
        "INSERT INTO counts (id, n) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = counts.n + 1";
    tx.execute(count, params![]).await?;
    Ok(())
}

/// Two handlers, because each event is then noted twice.
fn counting() -> Handlers {
    Handlers::new()
        .on_raw("order.*", count)
        .on_raw("order.created", count)
}

struct Reader {
    db: Database,
    bus: Arc<EmbeddedBus>,
    handled: i64,
    running: Option<Running>,
    _folder: Folder,
}

/// A consumer that runs.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<events::Result<()>>,
}

impl Reader {
    async fn new() -> Self {
        let folder = Folder::new();
        let db = folder.database(GROUP).await;
        Self::on(db, folder).await
    }

    async fn on(db: Database, folder: Folder) -> Self {
        let bus = folder.bus().await;
        let counts = "CREATE TABLE counts (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)";
        let counts = [data::Migration::new(1, "counts", counts)];
        db.migrate(&counts).await.expect("migrated");
        let mut reader = Self {
            db,
            bus,
            handled: 0,
            running: None,
            _folder: folder,
        };
        reader.start(counting());
        reader
    }

    fn start(&mut self, handlers: Handlers) {
        let stop = CancellationToken::new();
        let (db, bus) = (self.db.clone(), self.bus.clone());
        let options = consumer::Options::default();
        let run = consumer::run(db, bus, GROUP, handlers, options, stop.clone());
        let task = tokio::spawn(run);
        self.running = Some(Running { stop, task });
    }

    async fn stop(&mut self) {
        let Running { stop, task } = self.running.take().expect("it runs");
        stop.cancel();
        task.await.expect("no panic").expect("stopped");
    }

    async fn until_types(&self, count: usize) {
        let wanted = async || self.bus.groups().await.expect("groups")[0].types.len() == count;
        eventually("so many types are wanted", wanted).await;
    }

    /// Has an event handled.
    async fn receive(&mut self, event: CloudEvent) {
        self.bus.publish(vec![event]).await.expect("published");
        self.handled += 2;
        let handled = async || {
            let sql = "SELECT COALESCE(SUM(n), 0) FROM counts";
            let row = self.db.query_one(sql, params![]).await.expect("counted");
            let count: i64 = row.expect("a row").get::<i64>(0).expect("a number");
            count >= self.handled
        };
        eventually("it is handled", handled).await;
    }

    async fn receive_all(&mut self, key: &str, numbers: impl IntoIterator<Item = i64>) {
        for number in numbers {
            self.receive(numbered(key, number)).await;
        }
    }

    async fn gaps(&self) -> Vec<(i64, i64)> {
        let gaps = sequence::gaps(&self.db, 100).await.expect("gaps");
        gaps.iter().map(|gap| (gap.first, gap.last)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_named_and_its_successor_is_handled() {
    let mut reader = Reader::new().await;
    reader.receive_all("7", [1, 2, 5]).await;
    reader.receive_all("8", [1, 2, 3]).await;
    let gaps = sequence::gaps(&reader.db, 100).await.expect("gaps");
    let found_at = gaps[0].found_at;
    assert_eq!(
        gaps,
        [Gap {
            group: GROUP.to_owned(),
            source: "order-service".to_owned(),
            key: "7".to_owned(),
            kind: "order.created".to_owned(),
            first: 3,
            last: 4,
            found_at
        }]
    );
    assert_eq!(sequence::missing(&reader.db).await.expect("a number"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_gap_closes_when_what_was_missing_comes_late() {
    let mut reader = Reader::new().await;
    reader.receive_all("7", [1, 6, 9]).await;
    assert_eq!(reader.gaps().await, [(2, 5), (7, 8)]);
    reader.receive_all("7", [3]).await;
    let mut gaps = reader.gaps().await;
    gaps.sort_unstable();
    assert_eq!(gaps, [(2, 2), (4, 5), (7, 8)]);
    reader.receive_all("7", [2, 4, 5, 7, 8, 10]).await;
    assert_eq!(reader.gaps().await, []);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_certain_is_no_gap() {
    let _clock = follow_the_paused_clock();
    let mut reader = Reader::new().await;
    // Unknown: anywhere. Repeated and late: nothing.
    reader.receive_all("7", [41, 42, 41, 3, 43]).await;
    // A new beginning, because it is younger than what was seen.
    env::sleep(Duration::from_secs(1)).await;
    reader.receive_all("7", [1, 2, 3]).await;
    assert_eq!(reader.gaps().await, []);
    reader.receive_all("7", [5]).await;
    assert_eq!(reader.gaps().await, [(4, 4)]);
    // No number at all, or one that is none.
    let mut none = numbered("7", 9);
    none.extensions.clear();
    reader.receive(none).await;
    let mut word = numbered("7", 9);
    word.extensions.insert(EXTENSION.to_owned(), "nine".into());
    reader.receive(word).await;
    assert_eq!(reader.gaps().await, [(4, 4)]);
}

#[tokio::test(start_paused = true)]
async fn what_was_forgotten_gives_no_false_alarm() {
    let _clock = follow_the_paused_clock();
    let mut reader = Reader::new().await;
    reader.receive_all("7", [1, 2, 4]).await;
    env::sleep(Duration::from_secs(60)).await;
    reader.receive_all("8", [1]).await;
    let before = env::now() - Duration::from_secs(30);
    let forgotten = sequence::forget(&reader.db, before).await;
    assert_eq!(forgotten.expect("forgotten"), 2, "the key, and its gap");
    reader.receive_all("7", [9, 10]).await;
    reader.receive_all("8", [2]).await;
    assert_eq!(reader.gaps().await, []);
}

#[tokio::test]
async fn on_postgresql_too() {
    let server = Postgres::start().await.expect("a server");
    let url = server.database("numbers").await.expect("a database");
    let db = Database::open(&url).await.expect("open").owned_by(GROUP);
    let mut reader = Reader::on(db, Folder::new()).await;
    reader.receive_all("7", [1, 2, 6, 4]).await;
    let mut gaps = reader.gaps().await;
    gaps.sort_unstable();
    assert_eq!(gaps, [(3, 3), (5, 5)]);
    assert_eq!(sequence::missing(&reader.db).await.expect("a number"), 2);
    let soon = env::now() + Duration::from_secs(60);
    assert!(sequence::forget(&reader.db, soon).await.expect("forgotten") >= 3);
}

/// Publishes, and takes from the bus what came of it: type, key, number.
async fn numbers_of(db: &Database, folder: &Folder) -> Vec<(String, String, String)> {
    let bus = folder.bus().await;
    let stop = CancellationToken::new();
    let options = relay::Options::default();
    let relaying = tokio::spawn(relay::run(db.clone(), bus.clone(), options, stop.clone()));
    for round in 0..2 {
        let mut tx = db.begin().await.expect("begun");
        for (kind, key) in [("a", "x"), ("b", "x"), ("a", "x"), ("a", "y")] {
            let event = CloudEvent::new(kind, key, serde_json::json!(round));
            tx.publish_raw(event).expect("published");
        }
        tx.commit().await.expect("committed");
    }
    let types = ["a".to_owned(), "b".to_owned()];
    let all = bus.subscribe("all", &types).await.expect("subscribed");
    let mut seen = Vec::new();
    while seen.len() < 8 {
        for delivery in take(all.as_ref(), 10).await {
            let event = &delivery.event;
            let number = event.extensions[EXTENSION].as_str().expect("a text");
            seen.push((
                event.kind.clone(),
                event.key().to_owned(),
                number.to_owned(),
            ));
            all.ack(&delivery).await.expect("acknowledged");
        }
    }
    stop.cancel();
    soon(relaying).await.expect("stopped");
    seen.sort();
    seen
}

fn expected() -> Vec<(String, String, String)> {
    let of = |kind: &str, key: &str, most: u32| {
        let (kind, key) = (kind.to_owned(), key.to_owned());
        (1..=most).map(move |it| (kind.clone(), key.clone(), it.to_string()))
    };
    let all = of("a", "x", 4)
        .chain(of("a", "y", 2))
        .chain(of("b", "x", 2));
    all.collect()
}

#[tokio::test(start_paused = true)]
async fn events_are_numbered_by_key_and_type() {
    let folder = Folder::new();
    let db = folder.database("order-service").await;
    assert_eq!(numbers_of(&db, &folder).await, expected());
    // Sent again, they have the numbers that they had.
    let other = Folder::new();
    let since = env::now() - Duration::from_secs(60);
    assert_eq!(db.outbox_replay(since).await.expect("replayed"), 8);
    let again = numbers_of(&db, &other).await;
    assert_eq!(again[0].2, "1");
}

#[tokio::test]
async fn events_are_numbered_on_postgresql() {
    let server = Postgres::start().await.expect("a server");
    let url = server.database("orders").await.expect("a database");
    let db = Database::open(&url).await.expect("open").owned_by("orders");
    assert_eq!(numbers_of(&db, &Folder::new()).await, expected());
}

#[tokio::test(start_paused = true)]
async fn a_number_that_an_event_has_already_stays() {
    let folder = Folder::new();
    let (db, bus) = (folder.database("order-service").await, folder.bus().await);
    let mut tx = db.begin().await.expect("begun");
    tx.publish_raw(numbered("7", 41)).expect("published");
    tx.commit().await.expect("committed");
    let stop = CancellationToken::new();
    let options = relay::Options::default();
    tokio::spawn(relay::run(db, bus.clone(), options, stop));
    let types = ["order.*".to_owned()];
    let all = bus.subscribe("all", &types).await.expect("subscribed");
    let taken = take(all.as_ref(), 1).await;
    assert_eq!(taken[0].event.extensions[EXTENSION], "41");
}

/// Two services may publish in one name, and would count apart; what has no key has nothing before it.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_counted_has_no_number() {
    let folder = Folder::new();
    let (db, bus) = (folder.database("order-service").await, folder.bus().await);
    let mut tx = db.begin().await.expect("begun");
    let event = |key: &str| CloudEvent::new("order.created", key, serde_json::json!(1));
    let (mut foreign, mut keyless) = (event("foreign"), event("keyless"));
    foreign.source = "https://example.com/till".to_owned();
    keyless.partitionkey = None;
    for event in [foreign, keyless, event("own")] {
        tx.publish_raw(event).expect("published");
    }
    tx.commit().await.expect("committed");
    let stop = CancellationToken::new();
    let options = relay::Options::default();
    tokio::spawn(relay::run(db.clone(), bus.clone(), options, stop));
    let types = ["order.*".to_owned()];
    let all = bus.subscribe("all", &types).await.expect("subscribed");
    let mut numbered = Vec::new();
    for _ in 0..3 {
        let taken = take(all.as_ref(), 1).await;
        if taken[0].event.extensions.contains_key(EXTENSION) {
            numbered.push(taken[0].event.key().to_owned());
        }
        all.ack(&taken[0]).await.expect("acknowledged");
    }
    assert_eq!(numbered, ["own"]);
    let rows = "SELECT count(*) FROM outrigger_sequences";
    let row = db.query_one(rows, params![]).await.expect("counted");
    assert_eq!(row.expect("a count").get::<i64>(0).expect("a number"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_type_that_was_left_out_for_a_while_is_no_gap() {
    let mut reader = Reader::new().await;
    reader.receive_all("7", [1, 2]).await;
    let mut keyless = numbered("7", 9);
    keyless.partitionkey = None;
    reader.receive(keyless).await;
    reader.stop().await;
    reader.start(Handlers::new().without("order.*").without("order.created"));
    reader.until_types(0).await;
    reader.stop().await;
    let missed = vec![numbered("7", 3), numbered("7", 4)];
    reader.bus.publish(missed).await.expect("published");
    reader.start(counting());
    reader.until_types(2).await;
    reader.receive_all("7", [5, 6]).await;
    assert_eq!(reader.gaps().await, []);
}
