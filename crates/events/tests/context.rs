//! What is caused by an event belongs to its request and its trace. Alone in its file: tracing decides for the
//! whole process which spans anybody listens to.

mod support;

use std::sync::Arc;

use data::Transaction;
use env::{BoxError, RequestContext};
use events::{Bus, CloudEvent, Event, Handlers, JsonSchema, Publish, consumer, schemars};
use outrigger_events as events;
use serde::{Deserialize, Serialize};
use serde_json::json;
use support::{Folder, event, eventually, soon};
use telemetry::logging;
use tokio_util::sync::CancellationToken;

#[derive(Serialize, Deserialize, JsonSchema, Event)]
#[event("order.created", version = 1, key = key, crate = events)]
struct OrderCreated {
    key: String,
    number: u32,
}

async fn answer(tx: &mut Transaction, order: OrderCreated) -> Result<(), BoxError> {
    let context = RequestContext::current();
    assert_eq!(context.correlation_id, "request-9");
    assert_eq!(context.causation_id.as_deref(), Some("a-1"));
    tx.publish(order)?;
    tx.publish_raw(CloudEvent::new("order.noted", "a", json!(null)))?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_publishes_belongs_to_the_request_and_the_trace_of_its_event() {
    let quiet = logging::Output::Sink(Arc::new(|_: &str| {}));
    let options = logging::Options::new("order-service").output(quiet);
    let (dispatch, _guard) = logging::dispatch(options).expect("telemetry");
    let _traced = tracing::dispatcher::set_default(&dispatch);

    let folder = Folder::new();
    let (db, bus) = (folder.database("order-service").await, folder.bus().await);
    let handlers = Handlers::new().on::<OrderCreated, _>(answer);
    let stop = CancellationToken::new();
    let options = consumer::Options::default();
    let run = consumer::run(
        db.clone(),
        bus.clone(),
        "orders",
        handlers,
        options,
        stop.clone(),
    );
    let task = tokio::spawn(run);

    let mut order = event("order.created", "a", 1);
    order.correlationid = Some("request-9".to_owned());
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    order.traceparent = Some(format!("00-{trace}-00f067aa0ba902b7-01"));
    bus.publish(vec![order]).await.expect("published");
    let answered = async || db.outbox_backlog().await.expect("counted") == 2;
    eventually("both are published", answered).await;
    stop.cancel();
    soon(task).await.expect("no panic").expect("stopped");

    for unsent in db.outbox_waiting(10).await.expect("read") {
        let message = unsent.message;
        let event = CloudEvent::from_json(&message.payload).expect("an event");
        assert_eq!(event.source, "order-service");
        assert_eq!(event.correlationid.as_deref(), Some("request-9"));
        assert_eq!(event.causationid.as_deref(), Some("a-1"));
        let parent = event.traceparent.expect("a trace");
        // The trace of the event, in a span of its own.
        assert!(
            parent.contains(trace) && !parent.contains("00f067aa0ba902b7"),
            "{parent}"
        );
        let message = (message.id, message.topic, message.key);
        assert_eq!(message, (event.id, event.kind, "a".to_owned()));
    }
}
