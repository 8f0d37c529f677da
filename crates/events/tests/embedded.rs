//! The embedded bus: what every bus does, and what is its own.

mod conformance;
mod support;

use std::{sync::Arc, time::Duration};

use conformance::order::any_step;
use data::Database;
use events::{Bus, EmbeddedBus, embedded};
use outrigger_events as events;
use proptest::{collection, prelude::*};
use support::{Folder, drain, event, take};

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            let folder = Folder::new();
            conformance::$name(folder.bus().await).await;
        })*
    };
}

conformance::every_promise!(conforms);

#[tokio::test(start_paused = true)]
async fn g2_not_lost_when_the_bus_restarts() {
    let folder = Folder::new();
    conformance::g2_not_lost_when_the_bus_restarts(async || folder.bus().await as Arc<dyn Bus>)
        .await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn g4_ordered_and_g2_not_lost_whatever_happens(steps in collection::vec(any_step(), 0..80)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let folder = Folder::new();
            let bus = folder.bus().await;
            conformance::order::g4_ordered_and_g2_not_lost_whatever_happens(bus, steps).await;
        });
    }
}

/// As in a simulation: machines with a runtime each, on one thread, that share the bus.
#[test]
fn subscriptions_on_several_runtimes_wake_each_other() {
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime")
    };
    let (first, second) = (runtime(), runtime());
    let folder = Folder::new();
    let bus: Arc<dyn Bus> = first.block_on(folder.bus());
    let orders = first.block_on(conformance::join(&bus, "orders", &["order.*"]));
    let publish = |number| bus.publish(vec![event("order.created", "a", number)]);

    let waiting = first.spawn(async move {
        let started = env::instant();
        let taken = take(orders.as_ref(), 1).await;
        assert!(env::instant() - started < Duration::from_secs(1));
        (orders, taken)
    });
    first.block_on(tokio::task::yield_now());
    second.block_on(publish(1)).expect("published");
    let (orders, taken) = first.block_on(waiting).expect("woken");
    assert_eq!(support::ids(&taken), ["a-1"]);

    let others = second.block_on(conformance::join(&bus, "orders", &["order.*"]));
    let waiting = second.spawn(async move {
        let started = env::instant();
        let taken = support::drain_one(others.as_ref()).await;
        assert!(env::instant() - started < Duration::from_secs(1));
        taken
    });
    second.block_on(tokio::task::yield_now());
    // The machine of the first crashes.
    drop((orders, first));
    assert_eq!(second.block_on(waiting).expect("woken"), "a-1");
}

async fn bus_of(folder: &Folder, options: embedded::Options) -> Arc<dyn Bus> {
    let db = Database::open(&folder.url("bus.sqlite")).await;
    let bus = EmbeddedBus::with(db.expect("a database"), options).await;
    Arc::new(bus.expect("a bus"))
}

/// How many events a group that is new finds in the log.
async fn kept(bus: &Arc<dyn Bus>) -> usize {
    let everything = conformance::join(bus, "everything", &["order.*"]).await;
    drain(everything.as_ref()).await.len()
}

#[tokio::test(start_paused = true)]
async fn the_log_keeps_so_many_events_of_what_was_handled() {
    let folder = Folder::new();
    let options = embedded::Options {
        max_events: 32,
        ..embedded::Options::default()
    };
    let bus = bus_of(&folder, options).await;
    let orders = conformance::join(&bus, "orders", &["order.*"]).await;
    for number in 0..100 {
        let event = event("order.created", &number.to_string(), number);
        bus.publish(vec![event]).await.expect("published");
        let taken = take(orders.as_ref(), 1).await;
        orders.ack(&taken[0]).await.expect("acknowledged");
    }
    let kept = kept(&bus).await;
    assert!((32..=34).contains(&kept), "{kept}");
}

#[tokio::test(start_paused = true)]
async fn g2_not_lost_by_retention_what_is_not_handled_stays() {
    let folder = Folder::new();
    let options = embedded::Options {
        max_events: 1,
        max_age: Duration::ZERO,
    };
    let bus = bus_of(&folder, options).await;
    let orders = conformance::join(&bus, "orders", &["order.*"]).await;
    for number in 0..100 {
        let event = event("order.created", &number.to_string(), number);
        bus.publish(vec![event]).await.expect("published");
    }
    assert_eq!(drain(orders.as_ref()).await.len(), 100);
    for number in 100..102 {
        let event = event("order.created", "last", number);
        bus.publish(vec![event]).await.expect("published");
    }
    let kept = kept(&bus).await;
    assert!(kept <= 3, "{kept}");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_forgotten_has_nothing_left_to_handle() {
    let folder = Folder::new();
    let bus = folder.bus().await;
    let shared: Arc<dyn Bus> = bus.clone();
    let orders = conformance::join(&shared, "orders", &["order.*"]).await;
    let events = ["a", "b"].map(|key| event("order.created", key, 1));
    bus.publish(events.to_vec()).await.expect("published");
    let taken = take(orders.as_ref(), 1).await;
    orders.ack(&taken[0]).await.expect("acknowledged");

    let [status] = &bus.groups().await.expect("groups")[..] else {
        panic!("one group")
    };
    assert_eq!((status.group.as_str(), status.pending), ("orders", 1));
    assert_eq!(status.types, ["order.*"]);
    bus.forget("orders").await.expect("forgotten");
    assert!(bus.groups().await.expect("groups").is_empty());
}
