//! A call has a span of its own between the caller's and the service's, in the same trace.

mod server;

use axum::{Json, Router, http::HeaderMap, routing::get};
use telemetry::{logging, propagation};
use tracing::Instrument;

use crate::server::{client, serve};

#[tokio::test]
async fn a_call_is_a_span_of_its_own_in_the_trace_of_its_caller() {
    let _logging = logging::init(logging::Options::new("test").filter("off")).expect("initialized");
    let parent = |headers: HeaderMap| async move {
        let parent = headers.get("traceparent").map(|value| value.to_str());
        Json(parent.and_then(Result::ok).map(str::to_owned))
    };
    let client = client(&[serve(Router::new().route("/parent", get(parent))).await]);

    let caller = tracing::info_span!("caller");
    let (ours, sent) = async {
        let sent = client.get::<Option<String>>("/parent", &[]).await;
        let sent = sent.expect("answered").flatten();
        (propagation::traceparent().expect("recorded"), sent)
    }
    .instrument(caller)
    .await;

    let sent = sent.expect("a parent");
    let [ours, sent] = [&ours, &sent].map(|parent| parent.split('-').collect::<Vec<_>>());
    assert_eq!(ours[1], sent[1], "one trace");
    assert_ne!(ours[2], sent[2], "another span");
}
