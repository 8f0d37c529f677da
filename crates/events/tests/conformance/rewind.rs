//! A group that goes back.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use env::Timestamp;
use events::{Bus, Error};
use futures::FutureExt;
use outrigger_events as events;

use super::{join, publish};
use crate::support::{drain, drain_one, moment, nothing, soon, take};

/// A time after all that was published before, and before all that comes.
async fn now() -> Timestamp {
    let before = env::now();
    while env::now().as_millisecond() <= before.as_millisecond() + 1 {
        tokio::task::yield_now().await;
    }
    env::now()
}

fn without(ids: &[String], key: &str) -> Vec<String> {
    let other = |id: &&String| !id.starts_with(key);
    ids.iter().filter(other).cloned().collect()
}

/// A group is given once more, in order by key, what was published since; nothing earlier, and no other group.
pub(crate) async fn g4_ordered_a_group_is_given_again_what_came_since(bus: Arc<dyn Bus>) {
    let orders = join(&bus, "orders", &["order.*"]).await;
    let others = join(&bus, "others", &["order.*"]).await;
    publish(&bus, &[("a", 1), ("b", 1)]).await;
    let since = now().await;
    publish(&bus, &[("a", 2), ("c", 1), ("a", 3), ("a", 4)]).await;
    assert_eq!(drain(orders.as_ref()).await.len(), 6);
    assert_eq!(drain(others.as_ref()).await.len(), 6);

    let nothing_to_do = || async { Ok(()) }.boxed();
    let rewound = bus.rewind("orders", since, nothing_to_do()).await;
    rewound.expect("taken back");
    let again = drain(orders.as_ref()).await;
    assert_eq!(without(&again, "c"), ["a-2", "a-3", "a-4"]);
    assert_eq!(without(&again, "a"), ["c-1"]);
    nothing(others.as_ref()).await;
    // And then it goes on.
    publish(&bus, &[("a", 5)]).await;
    assert_eq!(drain(orders.as_ref()).await, ["a-5"]);
}

/// What is being handled is waited for, so that nothing earlier is handled beside it.
pub(crate) async fn g4_ordered_going_back_waits_for_what_is_handled(bus: Arc<dyn Bus>) {
    let since = now().await;
    let orders = join(&bus, "orders", &["order.*"]).await;
    publish(&bus, &[("a", 1), ("a", 2), ("a", 3)]).await;
    assert_eq!(drain_one(orders.as_ref()).await, "a-1");
    let held = take(orders.as_ref(), 1).await;
    let settled = Arc::new(AtomicBool::new(false));
    let (own, shared) = (Arc::clone(&settled), Arc::clone(&bus));
    let rewinding = tokio::spawn(async move {
        let meanwhile = async move {
            assert!(own.load(Relaxed), "it is still being handled");
            Ok(())
        };
        shared.rewind("orders", since, meanwhile.boxed()).await
    });
    nothing(orders.as_ref()).await;
    assert!(!rewinding.is_finished());
    settled.store(true, Relaxed);
    orders.ack(&held[0]).await.expect("acknowledged");
    let rewound = soon(rewinding).await.expect("it does not panic");
    rewound.expect("taken back");
    assert_eq!(drain(orders.as_ref()).await, ["a-1", "a-2", "a-3"]);
}

/// If what is to be done meanwhile fails, the group goes on where it was.
pub(crate) async fn a_failure_on_the_way_back_changes_nothing(bus: Arc<dyn Bus>) {
    let since = now().await;
    let orders = join(&bus, "orders", &["order.*"]).await;
    publish(&bus, &[("a", 1), ("a", 2)]).await;
    assert_eq!(drain_one(orders.as_ref()).await, "a-1");
    let away = || Error::Unavailable {
        source: "the database is away".into(),
    };
    let failing = async { Err(away()) }.boxed();
    let failed = bus.rewind("orders", since, failing).await;
    assert!(matches!(failed, Err(Error::Unavailable { .. })));
    assert_eq!(drain(orders.as_ref()).await, ["a-2"]);
}

/// A group that never subscribed is named.
pub(crate) async fn a_group_that_is_unknown_cannot_go_back(bus: Arc<dyn Bus>) {
    let unused = async { panic!("there is nobody to do it for") }.boxed();
    let refused = bus.rewind("nobody", now().await, unused).await;
    let Err(Error::UnknownGroup { group }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(group, "nobody");
}

/// What was wanted only later counts too: a group goes back for what it wants now.
pub(crate) async fn a_type_that_was_added_later_counts_on_the_way_back(bus: Arc<dyn Bus>) {
    let since = now().await;
    drop(join(&bus, "orders", &["order.paid"]).await);
    publish(&bus, &[("a", 1)]).await;
    let orders = join(&bus, "orders", &["order.*"]).await;
    assert!(drain(orders.as_ref()).await.is_empty());
    let rewound = bus.rewind("orders", since, async { Ok(()) }.boxed()).await;
    rewound.expect("taken back");
    let waited = tokio::time::timeout(10 * moment(), take(orders.as_ref(), 1)).await;
    assert_eq!(waited.expect("it comes")[0].event.id, "a-1");
}
