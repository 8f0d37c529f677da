//! What the tests of this crate share: folders, events, waiting with a deadline.
#![allow(dead_code, reason = "every test file uses a part of it")]

mod clock;
mod unreliable;

use std::{future::Future, sync::Arc, time::Duration};

#[allow(unused_imports, reason = "every test file uses a part of it")]
pub(crate) use clock::follow_the_paused_clock;
use data::Database;
use env::world::Entered;
use events::{CloudEvent, Delivery, EmbeddedBus, Subscription};
use outrigger_events as events;
use serde_json::json;
use tempfile::TempDir;
#[allow(unused_imports, reason = "every test file uses a part of it")]
pub(crate) use unreliable::Unreliable;

/// A folder for databases, removed at the end.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("sqlite:{}", self.0.path().join(name).display())
    }

    pub(crate) async fn database(&self, owner: &str) -> Database {
        let db = Database::open(&self.url(&format!("{owner}.sqlite"))).await;
        db.expect("a database").owned_by(owner)
    }

    pub(crate) async fn bus(&self) -> Arc<EmbeddedBus> {
        let bus = EmbeddedBus::open(&self.url("bus.sqlite")).await;
        Arc::new(bus.expect("a bus"))
    }
}

/// The event number `number` about `key`, with an id that says so.
pub(crate) fn event(kind: &str, key: &str, number: u32) -> CloudEvent {
    let mut event = CloudEvent::new(kind, key, json!({ "key": key, "number": number }));
    event.id = format!("{key}-{number}");
    event.source = "test".to_owned();
    event
}

pub(crate) fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|it| it.event.id.as_str()).collect()
}

/// What `future` comes to; a test that waits in vain fails here.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    let limit = Duration::from_secs(600);
    let waited = tokio::time::timeout(limit, future).await;
    waited.expect("it should have come by now")
}

/// Takes up to `limit` deliveries, and there must be some.
pub(crate) async fn take(subscription: &dyn Subscription, limit: usize) -> Vec<Delivery> {
    soon(subscription.next(limit)).await.expect("deliveries")
}

/// Whether the bus is on a real server, so that time cannot be paused: see [`pace`].
static REAL_TIME: std::sync::OnceLock<()> = std::sync::OnceLock::new();

/// From here on tests wait in real time.
pub(crate) fn real_time() {
    _ = REAL_TIME.set(());
}

/// Has `env::now` go with the paused clock, where it is paused.
pub(crate) fn clock() -> Option<Entered> {
    let is_paused = REAL_TIME.get().is_none();
    is_paused.then(follow_the_paused_clock)
}

/// A length of time of a test: as it is when time is paused, a twentieth of it when it passes for real.
pub(crate) fn pace(length: Duration) -> Duration {
    length / if REAL_TIME.get().is_some() { 20 } else { 1 }
}

/// How long a test waits to see that nothing comes. A real server needs some time to bring what it has.
pub(crate) fn moment() -> Duration {
    let real = REAL_TIME.get().is_some();
    Duration::from_millis(if real { 500 } else { 50 })
}

/// Takes until `count` deliveries have come, and there must be no more than those; sorted by id, for those of
/// different keys come in any order.
pub(crate) async fn gather(subscription: &dyn Subscription, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.extend(take(subscription, count.max(10)).await);
    }
    assert_eq!(taken.len(), count, "{taken:?}");
    taken.sort_by(|one, other| one.event.id.cmp(&other.event.id));
    taken
}

/// Holds that there is nothing to take, now and for a while.
pub(crate) async fn nothing(subscription: &dyn Subscription) {
    if let Ok(taken) = tokio::time::timeout(moment(), subscription.next(10)).await {
        panic!("nothing was to be delivered, but: {taken:?}");
    }
}

/// Takes and acknowledges until nothing comes; returns the ids in the order in which they came.
pub(crate) async fn drain(subscription: &dyn Subscription) -> Vec<String> {
    drain_for(subscription, moment()).await
}

/// The same, with another time after which what has not come does not come.
pub(crate) async fn drain_for(subscription: &dyn Subscription, wait: Duration) -> Vec<String> {
    let mut seen = Vec::new();
    while let Ok(taken) = tokio::time::timeout(wait, subscription.next(10)).await {
        for delivery in taken.expect("deliveries") {
            subscription.ack(&delivery).await.expect("acknowledged");
            seen.push(delivery.event.id.clone());
        }
    }
    seen
}

/// Takes and acknowledges one event.
pub(crate) async fn drain_one(subscription: &dyn Subscription) -> String {
    let taken = take(subscription, 1).await;
    subscription.ack(&taken[0]).await.expect("acknowledged");
    taken[0].event.id.clone()
}

/// Waits until `condition` holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    for _ in 0..10_000 {
        if condition().await {
            return;
        }
        env::sleep(Duration::from_millis(10)).await;
    }
    panic!("in vain waited until {what}");
}
