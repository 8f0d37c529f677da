//! Consumers: once, in order, through failures of every kind.

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use data::{Database, Migration, Transaction, params};
use env::{BoxError, world::Entered};
use events::{
    Bus, CloudEvent, DeadLetter, DeadLetters, EmbeddedBus, Event, Handlers, JsonSchema, Publish,
    consumer::{self, Options, Outcome},
    dead_letters::Filter,
    schemars,
};
use outrigger_events as events;
use serde::{Deserialize, Serialize};
use serde_json::json;
use support::{Folder, Unreliable, event, eventually, follow_the_paused_clock};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Event)]
#[event("order.created", version = 1, key = key, crate = events)]
struct OrderCreated {
    key: String,
    number: u32,
}

/// A service with a table of what it handled, and the bus that it listens to.
struct Service {
    db: Database,
    bus: Arc<EmbeddedBus>,
    seen: Arc<Mutex<Vec<(String, u32, Outcome)>>>,
    _clock: Option<Entered>,
    _folder: Folder,
}

const GROUP: &str = "notification-service";

impl Service {
    async fn new() -> Self {
        let clock = follow_the_paused_clock();
        Self {
            _clock: Some(clock),
            ..Self::in_real_time().await
        }
    }

    async fn in_real_time() -> Self {
        let folder = Folder::new();
        let db = folder.database(GROUP).await;
        let sql = "CREATE TABLE notes (position INTEGER PRIMARY KEY, text TEXT NOT NULL)";
        db.migrate(&[Migration::new(1, "notes", sql)])
            .await
            .expect("migrated");
        events::install(&db).await.expect("installed");
        Self {
            db,
            bus: folder.bus().await,
            seen: Arc::default(),
            _clock: None,
            _folder: folder,
        }
    }

    async fn publish(&self, orders: &[(&str, u32)]) {
        let events = orders
            .iter()
            .map(|(key, number)| event("order.created", key, *number));
        self.bus.publish(events.collect()).await.expect("published");
    }

    fn options(&self) -> Options {
        let seen = Arc::clone(&self.seen);
        Options {
            observer: Some(Arc::new(move |it| {
                assert_eq!(it.group, GROUP);
                let record = (it.kind.to_owned(), it.attempt, it.outcome);
                seen.lock().expect("no panic").push(record);
            })),
            ..Options::default()
        }
    }

    fn start(&self, handlers: Handlers) -> Consumer {
        self.start_with(self.bus.clone(), handlers, self.options())
    }

    fn start_with(&self, bus: Arc<dyn Bus>, handlers: Handlers, options: Options) -> Consumer {
        let stop = CancellationToken::new();
        let run = consumer::run(self.db.clone(), bus, GROUP, handlers, options, stop.clone());
        let task = tokio::spawn(run);
        Consumer { stop, task }
    }

    /// As another version of the service does that joins.
    async fn ask_for(&self, pattern: &str) {
        let types = [pattern.to_owned()];
        let joined = self.bus.subscribe(GROUP, &types).await;
        drop(joined.expect("subscribed"));
    }

    async fn notes(&self) -> Vec<String> {
        let all = "SELECT text FROM notes ORDER BY position";
        let rows = self.db.query(all, params![]).await.expect("notes");
        rows.iter().map(|row| row.get(0).expect("a text")).collect()
    }

    async fn until_notes(&self, count: usize) -> Vec<String> {
        eventually("there are so many notes", async || {
            self.notes().await.len() >= count
        })
        .await;
        self.notes().await
    }

    async fn until_settled(&self) {
        let waiting = "SELECT count(*) FROM outrigger_deferred WHERE due IS NOT NULL";
        let settled = async || {
            let groups = self.bus.groups().await.expect("groups");
            if groups.is_empty() || groups.iter().any(|group| group.pending > 0) {
                return false;
            }
            let row = self
                .db
                .query_one(waiting, params![])
                .await
                .expect("counted");
            row.expect("a count").get::<i64>(0).expect("a number") == 0
        };
        eventually("everything is settled", settled).await;
    }

    async fn dead_letters(&self) -> Vec<DeadLetter> {
        let page = self.letters().list(&Filter::default(), None, 100).await;
        page.expect("listed").dead_letters
    }

    fn letters(&self) -> DeadLetters {
        DeadLetters::of(&self.db)
    }

    async fn until_dead(&self) -> DeadLetter {
        let dead = async || !self.dead_letters().await.is_empty();
        eventually("an event is dead", dead).await;
        self.dead_letters().await.remove(0)
    }

    fn outcomes(&self) -> Vec<(u32, Outcome)> {
        let seen = self.seen.lock().expect("no panic");
        seen.iter()
            .map(|(_, attempt, outcome)| (*attempt, *outcome))
            .collect()
    }
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
}

async fn note(tx: &mut Transaction, text: String) -> Result<(), BoxError> {
    tx.execute("INSERT INTO notes (text) VALUES ($1)", params![text])
        .await?;
    Ok(())
}

async fn note_order(tx: &mut Transaction, order: OrderCreated) -> Result<(), BoxError> {
    note(tx, format!("{}-{}", order.key, order.number)).await
}

async fn fail(tx: &mut Transaction, order: OrderCreated) -> Result<(), BoxError> {
    note_order(tx, order).await?;
    Err("the printer is on fire".into())
}

/// Panics on `a-1` and notes the rest.
async fn panic_at_first(tx: &mut Transaction, order: OrderCreated) -> Result<(), BoxError> {
    let first = (order.key.as_str(), order.number) == ("a", 1);
    note_order(tx, order).await?;
    assert!(!first, "cannot cope with {}", "a-1");
    Ok(())
}

fn noting() -> Handlers {
    Handlers::new().on::<OrderCreated, _>(note_order)
}

#[tokio::test(start_paused = true)]
async fn g3_once_though_the_bus_delivers_everything_twice() {
    let service = Service::new().await;
    let bus = Unreliable::new(service.bus.clone());
    bus.deliver_twice();
    let consumer = service.start_with(bus, noting(), service.options());
    service.publish(&[("a", 1), ("b", 1), ("a", 2)]).await;
    service.until_settled().await;
    consumer.stop().await;
    let mut notes = service.notes().await;
    notes.sort();
    assert_eq!(notes, ["a-1", "a-2", "b-1"]);
    let duplicates = service
        .outcomes()
        .into_iter()
        .filter(|it| it.1 == Outcome::Duplicate);
    assert_eq!(duplicates.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn g3_once_though_a_crash_comes_between_commit_and_acknowledgement() {
    let service = Service::new().await;
    let bus = Unreliable::new(service.bus.clone());
    bus.never_acknowledge();
    let consumer = service.start_with(bus, noting(), service.options());
    service.publish(&[("a", 1), ("a", 2)]).await;
    assert_eq!(service.until_notes(1).await, ["a-1"]);
    consumer.task.abort();
    assert!(consumer.task.await.expect_err("killed").is_cancelled());

    let consumer = service.start(noting());
    service.until_settled().await;
    consumer.stop().await;
    assert_eq!(service.notes().await, ["a-1", "a-2"]);
    assert_eq!(
        service.outcomes(),
        [(2, Outcome::Duplicate), (1, Outcome::Handled)]
    );
}

#[tokio::test(start_paused = true)]
async fn g1_atomic_what_a_failed_handler_wrote_and_published_is_gone() {
    async fn publish_and_fail(tx: &mut Transaction, order: OrderCreated) -> Result<(), BoxError> {
        tx.publish(order.clone())?;
        fail(tx, order).await
    }
    let service = Service::new().await;
    let options = Options {
        max_deliveries: 2,
        ..service.options()
    };
    let handlers = Handlers::new().on::<OrderCreated, _>(publish_and_fail);
    let consumer = service.start_with(service.bus.clone(), handlers, options);
    service.publish(&[("a", 1)]).await;
    service.until_settled().await;
    consumer.stop().await;
    assert!(service.notes().await.is_empty());
    assert_eq!(service.db.outbox_backlog().await.expect("counted"), 0);
    assert_eq!(
        service.outcomes(),
        [(1, Outcome::Retried), (2, Outcome::DeadLettered)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_failing_event_backs_off_dies_and_follows_its_key_when_replayed() {
    let service = Service::new().await;
    let consumer = service.start(Handlers::new().on::<OrderCreated, _>(fail));
    let started = env::instant();
    service.publish(&[("a", 1), ("a", 2)]).await;
    service.until_dead().await;
    let took = env::instant() - started;
    consumer.stop().await;
    // 100 ms to 6.4 s in seven steps: 12.7 s, less up to half by jitter.
    let (least, most) = (Duration::from_millis(6_350), Duration::from_millis(13_200));
    assert!(took > least && took < most, "{took:?}");
    let mut expected = vec![(1, Outcome::Retried), (1, Outcome::Held)];
    expected.extend((2..8).map(|attempt| (attempt, Outcome::Retried)));
    expected.push((8, Outcome::DeadLettered));
    assert_eq!(service.outcomes(), expected);

    let letters = service.dead_letters().await;
    assert_eq!((letters[0].attempts, letters[0].held), (8, 1));
    assert_eq!(letters[0].error, "the printer is on fire");
    let consumer = service.start(noting());
    let replayed = service.letters().replay(&Filter::id("a-1")).await;
    assert_eq!(replayed.expect("replayed"), 1);
    assert_eq!(service.until_notes(2).await, ["a-1", "a-2"]);
    consumer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_of_its_event_and_of_no_other() {
    let service = Service::new().await;
    let consumer = service.start(Handlers::new().on::<OrderCreated, _>(panic_at_first));
    service
        .publish(&[("a", 1), ("b", 1), ("a", 2), ("c", 1)])
        .await;
    assert_eq!(service.until_notes(2).await, ["b-1", "c-1"]);
    service.until_dead().await;
    let letters = service.dead_letters().await;
    assert_eq!(
        letters[0].error,
        "the handler panicked: cannot cope with a-1"
    );
    consumer.stop().await;
    assert_eq!(service.notes().await, ["b-1", "c-1"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_a_dead_letter_at_once() {
    let service = Service::new().await;
    let consumer = service.start(noting());
    let mut torn = event("order.created", "torn", 1);
    torn.data = json!({ "key": "torn", "number": "one" });
    let mut newer = event("order.created", "newer", 1);
    newer.dataschema = Some("urn:outrigger:event:order.created:2".to_owned());
    service
        .bus
        .publish(vec![torn.clone(), newer])
        .await
        .expect("published");
    service.publish(&[("a", 1)]).await;
    assert_eq!(service.until_notes(1).await, ["a-1"]);
    service.until_settled().await;
    consumer.stop().await;

    let letters = service.dead_letters().await;
    assert_eq!(letters.len(), 2);
    // By id.
    assert_eq!((&letters[1].event, letters[1].attempts), (&torn, 1));
    assert!(
        letters[1]
            .error
            .contains("cannot be read at `number`: invalid type")
    );
    assert!(
        letters[0].error.contains("has version 2, known is 1"),
        "{}",
        letters[0].error
    );
}

/// Events of two types by turns, of one key.
async fn publish_by_turns(service: &Service, numbers: std::ops::Range<u32>) {
    let kinds = ["order.created", "order.paid"];
    let events = numbers.map(|number| event(kinds[number as usize % 2], "a", number));
    service
        .bus
        .publish(events.collect())
        .await
        .expect("published");
}

async fn note_raw(tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
    note(tx, event.id).await
}

#[tokio::test(start_paused = true)]
async fn g4_ordered_what_has_no_handler_here_waits_for_a_version_that_has_one() {
    let service = Service::new().await;
    let newer = || Handlers::new().on_raw("order.*", note_raw);
    service.ask_for("order.*").await;
    let consumer = service.start(noting());
    publish_by_turns(&service, 0..4).await;
    // Longer than any number of attempts takes.
    env::sleep(Duration::from_secs(1800)).await;
    assert_eq!(service.notes().await, ["a-0"]);
    let newer = service.start(newer());
    assert_eq!(service.until_notes(4).await, ["a-0", "a-1", "a-2", "a-3"]);
    assert!(service.dead_letters().await.is_empty());
    consumer.stop().await;
    newer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_no_version_takes_is_a_dead_letter_after_a_while() {
    let service = Service::new().await;
    let newer = || Handlers::new().on_raw("order.*", note_raw);
    service.ask_for("order.*").await;
    let options = Options {
        unclaimed_limit: Duration::from_secs(10),
        ..service.options()
    };
    let consumer = service.start_with(service.bus.clone(), noting(), options);
    publish_by_turns(&service, 1..3).await;
    let letter = service.until_dead().await;
    assert_eq!((letter.event.id.as_str(), letter.held), ("a-1", 1));
    assert!(letter.error.contains("has a handler"), "{}", letter.error);
    consumer.stop().await;
    let newer = service.start(newer());
    let replayed = service.letters().replay(&Filter::id("a-1")).await;
    assert_eq!(replayed.expect("replayed"), 1);
    assert_eq!(service.until_notes(2).await, ["a-1", "a-2"]);
    newer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_version_leaves_out_holds_nothing_and_comes_no_more() {
    let service = Service::new().await;
    let older = || Handlers::new().on_raw("order.*", note_raw);
    service.ask_for("order.*").await;
    // It was taken over by a version that knows neither that it was handled nor that it was left out.
    let consumer = service.start(noting());
    publish_by_turns(&service, 1..3).await;
    let held = async || service.outcomes().len() == 2;
    eventually("both wait", held).await;
    consumer.stop().await;

    let newer = service.start(noting().without("order.*"));
    assert_eq!(service.until_notes(1).await, ["a-2"]);
    let types = async || service.bus.groups().await.expect("groups")[0].types.clone();
    assert_eq!(types().await, ["order.created"]);
    publish_by_turns(&service, 3..5).await;
    assert_eq!(service.until_notes(2).await, ["a-2", "a-4"]);
    // An old replica is started once more: what it wants comes to the new one, too.
    let old = service.start(older());
    eventually("it has joined", async || types().await.len() == 2).await;
    old.stop().await;
    publish_by_turns(&service, 5..7).await;
    assert_eq!(service.until_notes(3).await, ["a-2", "a-4", "a-6"]);
    service.until_settled().await;
    newer.stop().await;
    assert!(service.dead_letters().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn handlers_of_one_event_do_not_fail_together() {
    async fn audit(tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
        note(tx, format!("audit {}", event.id)).await
    }
    let service = Service::new().await;
    let handlers = Handlers::new()
        .on::<OrderCreated, _>(fail)
        .on_raw("order.*", audit);
    let consumer = service.start(handlers.on_raw("order.*", audit));
    service.publish(&[("a", 1)]).await;
    service.until_settled().await;
    consumer.stop().await;
    assert_eq!(service.notes().await, ["audit a-1", "audit a-1"]);
    assert_eq!(service.outcomes().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn what_is_prepared_reaches_the_transaction() {
    async fn call(order: OrderCreated, id: String) -> Result<String, BoxError> {
        Ok(format!("receipt {} for {id}", order.number))
    }
    async fn call_raw(event: CloudEvent) -> Result<usize, BoxError> {
        Ok(event.kind.len())
    }
    async fn file(tx: &mut Transaction, _: OrderCreated, receipt: String) -> Result<(), BoxError> {
        note(tx, receipt).await
    }
    async fn file_raw(tx: &mut Transaction, it: CloudEvent, size: usize) -> Result<(), BoxError> {
        note(tx, format!("{} has {size}", it.kind)).await
    }
    let service = Service::new().await;
    let handlers = Handlers::new()
        .on_prepared::<OrderCreated, _, _, _, _>(call, file)
        .on_raw_prepared("order.*", call_raw, file_raw);
    let consumer = service.start(handlers);
    service.publish(&[("a", 7)]).await;
    let notes = service.until_notes(2).await;
    assert_eq!(notes, ["receipt 7 for a-7", "order.created has 13"]);
    consumer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn g4_ordered_by_key_while_keys_go_on_side_by_side() {
    let service = Service::new().await;
    let doors = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&doors);
    let wait = move |order: OrderCreated, _| {
        let waiting = Arc::clone(&waiting);
        async move {
            if order.key == "slow" {
                waiting.acquire().await?.forget();
            }
            Ok(())
        }
    };
    async fn file(tx: &mut Transaction, order: OrderCreated, (): ()) -> Result<(), BoxError> {
        note_order(tx, order).await
    }
    let handlers = Handlers::new().on_prepared::<OrderCreated, _, _, _, _>(wait, file);
    let consumer = service.start(handlers);
    service
        .publish(&[("slow", 1), ("slow", 2), ("a", 1), ("a", 2), ("a", 3)])
        .await;
    assert_eq!(service.until_notes(3).await, ["a-1", "a-2", "a-3"]);
    doors.add_permits(2);
    assert_eq!(service.until_notes(5).await[3..], ["slow-1", "slow-2"]);
    consumer.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_is_handled_at_once_than_allowed() {
    let service = Service::new().await;
    let (busy, most) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let counted = (Arc::clone(&busy), Arc::clone(&most));
    let work = move |_: OrderCreated, _| {
        let (busy, most) = counted.clone();
        async move {
            let now = {
                let mut busy = busy.lock().expect("no panic");
                *busy += 1;
                *busy
            };
            {
                let mut most = most.lock().expect("no panic");
                *most = now.max(*most);
            }
            env::sleep(Duration::from_millis(10)).await;
            *busy.lock().expect("no panic") -= 1;
            Ok(())
        }
    };
    async fn file(tx: &mut Transaction, order: OrderCreated, (): ()) -> Result<(), BoxError> {
        note_order(tx, order).await
    }
    let options = Options {
        concurrency: 3,
        ..service.options()
    };
    let handlers = Handlers::new().on_prepared::<OrderCreated, _, _, _, _>(work, file);
    let consumer = service.start_with(service.bus.clone(), handlers, options);
    let keys: Vec<String> = (0..20).map(|key| key.to_string()).collect();
    let orders: Vec<(&str, u32)> = keys.iter().map(|key| (key.as_str(), 1)).collect();
    service.publish(&orders).await;
    service.until_notes(20).await;
    consumer.stop().await;
    assert_eq!(*most.lock().expect("no panic"), 3);
}

#[tokio::test(start_paused = true)]
async fn stopping_finishes_what_is_in_flight_and_takes_nothing_new() {
    let service = Service::new().await;
    let door = Arc::new(Semaphore::new(0));
    let (waiting, begun) = (Arc::clone(&door), Arc::new(Semaphore::new(0)));
    let entered = Arc::clone(&begun);
    let wait = move |_: OrderCreated, _| {
        let (waiting, entered) = (Arc::clone(&waiting), Arc::clone(&entered));
        async move {
            entered.add_permits(1);
            waiting.acquire().await?.forget();
            Ok(())
        }
    };
    async fn file(tx: &mut Transaction, order: OrderCreated, (): ()) -> Result<(), BoxError> {
        note_order(tx, order).await
    }
    let handlers = Handlers::new().on_prepared::<OrderCreated, _, _, _, _>(wait, file);
    let consumer = service.start(handlers);
    service.publish(&[("a", 1), ("a", 2)]).await;
    begun.acquire().await.expect("open").forget();
    consumer.stop.cancel();
    service.publish(&[("b", 1)]).await;
    env::sleep(Duration::from_secs(1)).await;
    assert!(!consumer.task.is_finished());
    door.add_permits(10);
    consumer.stop().await;
    assert_eq!(service.notes().await, ["a-1"]);
    assert_eq!(service.bus.groups().await.expect("groups")[0].pending, 2);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_fails_at_its_limit() {
    async fn hang(tx: &mut Transaction, order: OrderCreated) -> Result<(), BoxError> {
        if order.key == "a" {
            std::future::pending::<()>().await;
        }
        note_order(tx, order).await
    }
    let service = Service::new().await;
    let options = Options {
        max_deliveries: 1,
        handler_limit: Duration::from_secs(2),
        ..service.options()
    };
    let handlers = Handlers::new().on::<OrderCreated, _>(hang);
    let consumer = service.start_with(service.bus.clone(), handlers, options);
    service.publish(&[("a", 1), ("b", 1)]).await;
    service.until_settled().await;
    consumer.stop().await;
    assert_eq!(service.notes().await, ["b-1"]);
    let letters = service.dead_letters().await;
    assert_eq!(letters[0].error, "the handler took longer than 2s");
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_is_away_for_a_while_costs_no_event() {
    let service = Service::new().await;
    let bus = Unreliable::new(service.bus.clone());
    bus.fail_next(8);
    let consumer = service.start_with(bus.clone(), noting(), service.options());
    service.publish(&[("a", 1), ("a", 2)]).await;
    service.until_notes(1).await;
    bus.fail_next(5);
    service.publish(&[("a", 3), ("b", 1)]).await;
    service.until_settled().await;
    consumer.stop().await;
    let mut notes = service.notes().await;
    notes.sort();
    assert_eq!(notes, ["a-1", "a-2", "a-3", "b-1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn g3_once_and_g4_ordered_with_many_members_on_many_threads() {
    let service = Service::in_real_time().await;
    let members: Vec<_> = (0..4).map(|_| service.start(noting())).collect();
    let mut expected = Vec::new();
    for number in 0..100 {
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let orders = keys.map(|key| (key, number));
        service.publish(&orders).await;
        expected.extend(orders.map(|(key, number)| format!("{key}-{number}")));
    }
    service.until_settled().await;
    for member in members {
        member.stop().await;
    }
    let mut notes = service.notes().await;
    // By key, and of a key in the order in which they were handled.
    notes.sort_by_key(|note| note.as_bytes()[0]);
    expected.sort_by_key(|note| note.as_bytes()[0]);
    assert_eq!(notes, expected);
}
