//! The relay: what was committed reaches the bus, in order, whatever happens on the way.

mod support;

use std::{sync::Arc, time::Duration};

use data::Database;
use events::{Bus, CloudEvent, EmbeddedBus, Publish, relay};
use outrigger_events as events;
use serde_json::json;
use support::{Folder, Unreliable, drain, eventually, soon, take};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Service {
    db: Database,
    bus: Arc<EmbeddedBus>,
    _folder: Folder,
}

impl Service {
    async fn new() -> Self {
        let folder = Folder::new();
        Self {
            db: folder.database("order-service").await,
            bus: folder.bus().await,
            _folder: folder,
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
        let stop = CancellationToken::new();
        let task = tokio::spawn(relay::run(self.db.clone(), bus, stop.clone()));
        (stop, task)
    }

    async fn until_empty(&self) {
        let empty = async || self.db.outbox_backlog().await.expect("counted") == 0;
        eventually("the outbox is empty", empty).await;
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
