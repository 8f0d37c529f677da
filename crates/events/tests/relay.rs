//! The relay: what was committed reaches the bus, in order, whatever happens on the way.

mod support;

use std::{sync::Arc, time::Duration};

use data::{Database, outbox::Message};
use events::{Bus, CloudEvent, EmbeddedBus, Publish, relay};
use outrigger_events as events;
use serde_json::json;
use servers::Postgres;
use support::{Folder, Unreliable, drain, eventually, follow_the_paused_clock, soon, take};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Service {
    db: Database,
    bus: Arc<EmbeddedBus>,
    folder: Folder,
}

impl Service {
    async fn new() -> Self {
        let folder = Folder::new();
        Self {
            db: folder.database("order-service").await,
            bus: folder.bus().await,
            folder,
        }
    }

    async fn commit(&self, numbers: impl IntoIterator<Item = u32>) {
        let mut tx = self.db.begin().await.expect("begun");
        for number in numbers {
            tx.publish_raw(order(number)).expect("published");
        }
        tx.commit().await.expect("committed");
    }

    fn start(&self, bus: Arc<dyn Bus>) -> (CancellationToken, JoinHandle<()>) {
        start(&self.db, bus)
    }

    async fn until_empty(&self) {
        until_empty(&self.db).await;
    }

    /// Another process that has the database.
    async fn twin(&self) -> Database {
        self.folder.database("order-service").await
    }

    async fn arrived(&self) -> Vec<String> {
        let types = [String::from("order.*")];
        let everything = self
            .bus
            .subscribe("everything", &types)
            .await
            .expect("subscribed");
        drain(everything.as_ref()).await
    }
}

fn start(db: &Database, bus: Arc<dyn Bus>) -> (CancellationToken, JoinHandle<()>) {
    let stop = CancellationToken::new();
    let options = relay::Options::default();
    let task = tokio::spawn(relay::run(db.clone(), bus, options, stop.clone()));
    (stop, task)
}

async fn until_empty(db: &Database) {
    let empty = async || db.outbox_backlog().await.expect("counted") == 0;
    eventually("the outbox is empty", empty).await;
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn order(number: u32) -> CloudEvent {
    let mut event = CloudEvent::new("order.created", number.to_string(), json!(null));
    event.id = number.to_string();
    event
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_arrives_in_order_at_once() {
    let service = Service::new().await;
    let (stop, task) = service.start(service.bus.clone());
    let types = [String::from("order.*")];
    let orders = service
        .bus
        .subscribe("orders", &types)
        .await
        .expect("subscribed");
    for round in 0..3 {
        let started = env::instant();
        let (taken, ()) = tokio::join!(take(orders.as_ref(), 10), service.commit([round]));
        assert_eq!(taken[0].event.id, round.to_string());
        assert_eq!(taken[0].event.source, "order-service");
        assert!(env::instant() - started < Duration::from_millis(100));
        orders.ack(&taken[0]).await.expect("acknowledged");
    }
    service.commit(3..1000).await;
    service.until_empty().await;
    let expected: Vec<String> = (3..1000).map(|number| number.to_string()).collect();
    assert_eq!(drain(orders.as_ref()).await, expected);
    stop.cancel();
    soon(task).await.expect("stopped");
}

#[tokio::test(start_paused = true)]
async fn g1_atomic_what_is_rolled_back_is_never_told() {
    let service = Service::new().await;
    let (stop, task) = service.start(service.bus.clone());
    let mut tx = service.db.begin().await.expect("begun");
    tx.publish_raw(order(1)).expect("published");
    tx.rollback().await.expect("rolled back");
    service.commit([2]).await;
    service.until_empty().await;
    stop.cancel();
    soon(task).await.expect("stopped");
    assert_eq!(service.arrived().await, ["2"]);
}

#[tokio::test(start_paused = true)]
async fn g2_not_lost_while_the_bus_is_away() {
    let service = Service::new().await;
    let bus = Unreliable::new(service.bus.clone());
    bus.fail_next(8);
    let (stop, task) = service.start(bus.clone());
    service.commit([1, 2]).await;
    eventually("it was tried", async || bus.failures_left() < 8).await;
    service.commit([3]).await;
    assert_eq!(service.db.outbox_backlog().await.expect("counted"), 3);
    service.until_empty().await;
    stop.cancel();
    soon(task).await.expect("stopped");
    assert_eq!(service.arrived().await, ["1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn g2_not_lost_and_not_doubled_by_a_crash_between_bus_and_outbox() {
    let service = Service::new().await;
    let bus = Unreliable::new(service.bus.clone());
    bus.never_confirm();
    let (_, task) = service.start(bus.clone());
    service.commit([1, 2]).await;
    let arrived = async || service.arrived().await.len() == 2;
    eventually("the events are on the bus", arrived).await;
    task.abort();
    assert!(task.await.expect_err("killed").is_cancelled());
    assert_eq!(service.db.outbox_backlog().await.expect("counted"), 2);

    let (stop, task) = service.start(service.bus.clone());
    service.commit([3]).await;
    service.until_empty().await;
    stop.cancel();
    soon(task).await.expect("stopped");
    assert_eq!(service.arrived().await, ["3"]);
}

#[tokio::test(start_paused = true)]
async fn stopping_brings_what_is_left() {
    let service = Service::new().await;
    service.commit(0..600).await;
    let (stop, task) = service.start(service.bus.clone());
    stop.cancel();
    soon(task).await.expect("stopped");
    assert_eq!(service.db.outbox_backlog().await.expect("counted"), 0);
    assert_eq!(service.arrived().await.len(), 600);
}

#[tokio::test(start_paused = true)]
async fn stopping_does_not_wait_for_a_bus_that_hangs() {
    let service = Service::new().await;
    let bus = Unreliable::new(service.bus.clone());
    bus.never_confirm();
    let (stop, task) = service.start(bus);
    stop.cancel();
    service.commit([1]).await;
    let started = env::instant();
    soon(task).await.expect("stopped");
    assert!(env::instant() - started < Duration::from_secs(6));
}

/// One key, so that everything has an order.
async fn commit_of_one_key(db: &Database, numbers: impl IntoIterator<Item = u32>) {
    let mut tx = db.begin().await.expect("begun");
    for number in numbers {
        let mut event = order(number);
        event.partitionkey = Some("key".to_owned());
        tx.publish_raw(event).expect("published");
    }
    tx.commit().await.expect("committed");
}

#[tokio::test(start_paused = true)]
async fn g4_ordered_though_publishing_fails_in_the_middle_of_batches() {
    let service = Service::new().await;
    let bus = Unreliable::new(service.bus.clone());
    bus.tear([100, 0, 255, 7]);
    commit_of_one_key(&service.db, 0..600).await;
    let (stop, task) = service.start(bus.clone());
    eventually("nothing is torn any more", async || bus.is_whole()).await;
    commit_of_one_key(&service.db, 600..700).await;
    service.until_empty().await;
    stop.cancel();
    soon(task).await.expect("stopped");
    assert_eq!(service.arrived().await, numbers(0..700));
}

/// What Spring Modulith got wrong (#663): two relays on one outbox send everything twice. Here one of them works, and the
/// other takes over when it dies.
#[tokio::test(start_paused = true)]
async fn g2_not_lost_and_g4_ordered_when_one_of_two_relays_dies() {
    let service = Service::new().await;
    let twin = service.twin().await;
    let bus = Unreliable::new(service.bus.clone());
    let (_, first) = service.start(bus.clone());
    commit_of_one_key(&service.db, 0..300).await;
    service.until_empty().await;
    let (stop, second) = start(&twin, service.bus.clone());

    // The first one dies when the bus has what it has not noted yet, and more waits.
    bus.never_confirm();
    commit_of_one_key(&service.db, 300..900).await;
    let sent = async || service.db.outbox_claimed(1).await.expect("read").len() == 1;
    eventually("it is sent", sent).await;
    env::sleep(Duration::from_secs(60)).await;
    assert!(!second.is_finished());
    assert!(
        service.db.outbox_backlog().await.expect("counted") > 0,
        "only one of them works"
    );
    first.abort();
    assert!(first.await.expect_err("killed").is_cancelled());
    let died = env::instant();
    service.until_empty().await;
    assert!(env::instant() - died < Duration::from_secs(2));
    stop.cancel();
    soon(second).await.expect("stopped");
    assert_eq!(service.arrived().await, numbers(0..900));
}

#[tokio::test]
async fn g2_not_lost_and_g4_ordered_when_the_leader_on_postgresql_is_cut_off() {
    let server = Postgres::start().await.expect("a server");
    let url = server.database("orders").await.expect("a database");
    let open = async || {
        Database::open(&url)
            .await
            .expect("a database")
            .owned_by("orders")
    };
    let (one, two) = (open().await, open().await);
    let folder = Folder::new();
    let bus = folder.bus().await;
    let relays = [start(&one, bus.clone()), start(&two, bus.clone())];
    for round in 0..6 {
        for step in 0..10 {
            let from = round * 100 + step * 10;
            commit_of_one_key(if step % 2 == 0 { &one } else { &two }, from..from + 10).await;
        }
        server
            .sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
            .expect("cut off");
    }
    until_empty(&one).await;
    for (stop, task) in relays {
        stop.cancel();
        soon(task).await.expect("stopped");
    }
    let types = [String::from("order.*")];
    let all = bus.subscribe("all", &types).await.expect("subscribed");
    assert_eq!(drain(all.as_ref()).await, numbers(0..600));
}

/// Other processes are told of a commit by a `NOTIFY` after it. One that dies in between tells nobody.
#[test]
fn g2_not_lost_an_event_of_a_process_that_died_before_it_told_of_it_is_found() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let (dead, alive) = (runtime(), runtime());
    let server = alive.block_on(Postgres::start()).expect("started");
    let open = async || {
        let db = Database::open(&server.url()).await.expect("opened");
        db.owned_by("orders")
    };
    let db = alive.block_on(open());
    let folder = Folder::new();
    let bus = alive.block_on(folder.bus());
    let (stop, task) = alive.block_on(async { start(&db, bus.clone()) });
    alive.block_on(async {
        commit_of_one_key(&db, 0..1).await;
        until_empty(&db).await;
    });
    dead.block_on(async {
        let dying = open().await;
        commit_of_one_key(&dying, 1..2).await;
        std::mem::forget(dying); // no goodbye
    });
    drop(dead);
    alive.block_on(async {
        until_empty(&db).await;
        stop.cancel();
        soon(task).await.expect("stopped");
        let types = [String::from("order.*")];
        let all = bus.subscribe("all", &types).await.expect("subscribed");
        assert_eq!(drain(all.as_ref()).await, numbers(0..2));
    });
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_set_aside_and_stops_nothing() {
    let service = Service::new().await;
    let mut tx = service.db.begin().await.expect("begun");
    tx.publish_raw(order(1)).expect("published");
    tx.enqueue(Message {
        id: "bad".to_owned(),
        topic: "order.created".to_owned(),
        key: "2".to_owned(),
        payload: b"no event".to_vec(),
    });
    tx.publish_raw(order(2)).expect("published");
    tx.commit().await.expect("committed");
    let (stop, task) = service.start(service.bus.clone());
    service.until_empty().await;
    stop.cancel();
    soon(task).await.expect("stopped");
    assert_eq!(service.arrived().await, ["1", "2"]);
    let refused = service.db.outbox_refused(10).await.expect("listed");
    assert_eq!(refused[0].message.id, "bad");
    assert!(refused[0].error.contains("not a CloudEvent"), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_bus_refuses_is_set_aside_stops_nothing_and_can_be_replayed() {
    let service = Service::new().await;
    let bus = Unreliable::new(service.bus.clone());
    bus.refuse("3");
    bus.refuse("300");
    service.commit(0..600).await;
    let (stop, task) = service.start(bus.clone());
    service.until_empty().await;
    let arrived = service.arrived().await;
    assert_eq!(arrived.len(), 598);
    let refused = service.db.outbox_refused(10).await.expect("listed");
    let ids: Vec<_> = refused.iter().map(|it| it.message.id.as_str()).collect();
    assert_eq!(ids, ["3", "300"]);
    assert!(refused[0].error.contains("at most 8"), "{refused:?}");

    bus.refuse_nothing();
    let since = env::now() - Duration::from_secs(3600);
    assert_eq!(
        service.db.outbox_replay(since).await.expect("replayed"),
        600
    );
    service.until_empty().await;
    stop.cancel();
    soon(task).await.expect("stopped");
    assert_eq!(service.arrived().await, ["3", "300"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_bus_has_lost_comes_back_for_as_long_as_it_is_kept() {
    let _clock = follow_the_paused_clock();
    let service = Service::new().await;
    let (stop, task) = service.start(service.bus.clone());
    service.commit(0..3).await;
    service.until_empty().await;
    stop.cancel();
    soon(task).await.expect("stopped");

    let other = EmbeddedBus::open(&service.folder.url("other.sqlite")).await;
    let other = Arc::new(other.expect("a bus"));
    let (stop, task) = service.start(other.clone());
    let since = env::now() - Duration::from_secs(60);
    assert_eq!(service.db.outbox_replay(since).await.expect("replayed"), 3);
    service.until_empty().await;
    let types = [String::from("order.*")];
    let again = other.subscribe("all", &types).await.expect("subscribed");
    assert_eq!(drain(again.as_ref()).await, numbers(0..3));

    env::sleep(Duration::from_secs(2 * 3600)).await;
    let since = env::now() - Duration::from_secs(4 * 3600);
    assert_eq!(service.db.outbox_replay(since).await.expect("replayed"), 0);
    stop.cancel();
    soon(task).await.expect("stopped");
}
