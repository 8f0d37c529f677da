//! One trace across processes, and nothing believed that is malformed.

mod watch;

use http::{HeaderMap, HeaderValue};
use outrigger_telemetry::{logging::Format, propagation};
use proptest::prelude::*;
use tracing::{Instrument, info_span, trace_span};
use watch::Watch;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[test]
fn a_call_carries_the_trace_of_the_span_that_makes_it() {
    let watch = Watch::new(Format::Human, "info");

    let mut headers = HeaderMap::new();
    let sent = info_span!("caller").in_scope(|| {
        propagation::inject(&mut headers);
        propagation::trace_id()
    });
    // Another process: nothing but the headers arrives.
    let server = info_span!("called");
    propagation::parent_from_headers(&server, &headers);
    let received = server.in_scope(propagation::trace_id);
    drop(server);

    assert!(sent.is_some());
    assert_eq!(sent, received);
    let spans = watch.spans();
    assert_eq!(spans[1].parent_span_id, spans[0].span_context.span_id());
    assert!(spans[1].parent_span_is_remote);
    assert!(
        !headers.contains_key("tracestate"),
        "an empty header says nothing"
    );
}

#[test]
fn an_envelope_carries_the_trace_too() {
    let _watch = Watch::new(Format::Human, "info");
    let (sent, traceparent) = info_span!("publisher")
        .in_scope(|| (propagation::trace_id(), propagation::traceparent().unwrap()));

    let handler = info_span!("handler");
    propagation::set_parent(&handler, &traceparent);

    assert_eq!(handler.in_scope(propagation::trace_id), sent);
}

#[tokio::test]
async fn tasks_that_take_turns_keep_their_own_traces() {
    let _watch = Watch::new(Format::Human, "info");
    let task = |expected: &'static str| {
        let span = info_span!("task");
        propagation::set_parent(&span, expected);
        async move {
            for _ in 0..10 {
                tokio::task::yield_now().await;
                let inner = info_span!("step");
                async { tokio::task::yield_now().await }
                    .instrument(inner)
                    .await;
                assert!(expected.contains(&propagation::trace_id().unwrap()));
            }
        }
        .instrument(span)
    };
    let other = "00-11111111111111111111111111111111-2222222222222222-01";
    tokio::join!(task(PARENT), task(other));
    assert_eq!(propagation::trace_id(), None);
}

#[test]
fn a_span_that_nobody_records_does_not_break_the_trace() {
    let _watch = Watch::new(Format::Human, "trace");
    let span = info_span!("request");
    propagation::set_parent(&span, PARENT);
    let _request = span.enter();
    let _detail = trace_span!("detail of a library").entered();
    assert_eq!(propagation::trace_id().as_deref(), Some(TRACE));
    assert!(propagation::traceparent().unwrap().contains(TRACE));
}

#[test]
fn the_state_of_vendors_is_handed_on() {
    let _watch = Watch::new(Format::Human, "info");
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_static(PARENT));
    headers.append("tracestate", HeaderValue::from_static("a=1"));
    headers.append("tracestate", HeaderValue::from_static("b=2"));
    let span = info_span!("request");
    propagation::parent_from_headers(&span, &headers);

    let mut onward = HeaderMap::new();
    span.in_scope(|| propagation::inject(&mut onward));

    assert_eq!(onward["tracestate"], "a=1,b=2");
}

#[test]
fn nothing_is_injected_outside_of_a_trace() {
    let mut headers = HeaderMap::new();
    propagation::inject(&mut headers);
    assert!(headers.is_empty());
    assert_eq!(propagation::traceparent(), None);

    let _watch = Watch::new(Format::Human, "info");
    propagation::inject(&mut headers);
    assert!(headers.is_empty());
}

#[test]
fn what_is_malformed_starts_a_trace_of_its_own() {
    let _watch = Watch::new(Format::Human, "info");
    for malformed in [
        "",
        "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        let span = info_span!("request");
        propagation::set_parent(&span, malformed);
        let own = span.in_scope(propagation::trace_id).unwrap();
        assert_ne!(own, TRACE, "{malformed}");
    }

    let mut two = HeaderMap::new();
    two.append("traceparent", HeaderValue::from_static(PARENT));
    two.append("traceparent", HeaderValue::from_static(PARENT));
    let span = info_span!("request");
    propagation::parent_from_headers(&span, &two);
    assert_ne!(span.in_scope(propagation::trace_id).unwrap(), TRACE);
}

proptest! {
    #[test]
    fn no_header_breaks_a_request(parent: Vec<u8>, state: Vec<u8>) {
        let _watch = Watch::new(Format::Human, "info");
        let mut headers = HeaderMap::new();
        for (name, bytes) in [("traceparent", parent), ("tracestate", state)] {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                headers.insert(name, value);
            }
        }
        let span = info_span!("request");
        propagation::parent_from_headers(&span, &headers);
        prop_assert!(span.in_scope(propagation::trace_id).is_some());
    }
}
