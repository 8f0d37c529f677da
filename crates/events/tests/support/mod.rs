//! What the tests of this crate share: folders, events, waiting with a deadline.
#![allow(dead_code, reason = "every test file uses a part of it")]

mod clock;
mod unreliable;

use std::{future::Future, sync::Arc, time::Duration};

#[allow(unused_imports, reason = "every test file uses a part of it")]
pub(crate) use clock::follow_the_paused_clock;
use data::Database;
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

/// Holds that there is nothing to take, now and for a while.
pub(crate) async fn nothing(subscription: &dyn Subscription) {
    let wait = Duration::from_millis(50);
    if let Ok(taken) = tokio::time::timeout(wait, subscription.next(10)).await {
        panic!("nothing was to be delivered, but: {taken:?}");
    }
}

/// Takes and acknowledges until nothing comes; returns the ids in the order in which they came.
pub(crate) async fn drain(subscription: &dyn Subscription) -> Vec<String> {
    drain_for(subscription, Duration::from_millis(50)).await
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
