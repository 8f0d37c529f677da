//! The recorder keeps what was published, once, and knows what was said twice for one reason.

use std::sync::Arc;

use events::{Bus, CloudEvent, EmbeddedBus};
use outrigger_testkit::Recorder;
use serde_json::json;

fn event(kind: &str, cause: Option<&str>, stock: u32) -> CloudEvent {
    let mut event = CloudEvent::new(kind, "lamp", json!({ "stock": stock }));
    event.source = "inventory-service".to_owned();
    event.causationid = cause.map(str::to_owned);
    event
}

#[tokio::test]
async fn what_is_published_again_is_kept_once_and_what_is_said_again_is_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("bus.sqlite").display());
    let bus = Recorder::new(Arc::new(EmbeddedBus::open(&url).await.expect("a bus")));
    let first = event("stock.changed", Some("order-1"), 8);
    let batch = vec![
        first.clone(),
        event("stock.changed", Some("order-1"), 7), // says something else
        event("stock.changed", Some("order-2"), 8), // for another reason
        event("stock.low", Some("order-1"), 8),     // of another type
        event("stock.changed", None, 8),
        event("stock.changed", None, 8), // two requests, as far as anybody knows
    ];
    bus.publish(batch).await.expect("taken");
    bus.publish(vec![first.clone()]).await.expect("taken"); // the relay did not hear the answer
    assert_eq!(bus.events("stock.changed").len(), 5);
    assert_eq!(bus.events("stock.*").len(), 6);
    assert_eq!(bus.counts()["stock.low"], 1);
    assert_eq!(bus.repeated(), []);

    let again = event("stock.changed", Some("order-1"), 8);
    bus.publish(vec![again.clone()]).await.expect("taken");
    assert_eq!(bus.repeated(), [again]);
}
