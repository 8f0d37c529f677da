//! One request, one trace. Alone in its binary: other threads without a subscriber would decide which spans are seen.

mod support;

use std::sync::Arc;

use env::RequestContext;
use support::{Process, listen, simulated};
use telemetry::{logging, propagation};
use tempfile::tempdir;
use tracing::Instrument;

#[test]
fn what_a_saga_causes_is_one_request_and_one_trace() {
    let options = logging::Options::new("test").output(logging::Output::Sink(Arc::new(|_| {})));
    let (dispatch, _guard) = logging::dispatch(options).unwrap();
    let _default = tracing::dispatcher::set_default(&dispatch);
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let mut heard = listen(&process, &["saga.*", "order.*"]);
        let _serving = process.spawn();
        // By a reply, and by a timer, which has no trace of its own.
        let started = async {
            process.start("1", &["a", "sleep", "refuse b"]).await;
            propagation::trace_id().unwrap()
        };
        let context = RequestContext::correlated("request-7");
        let request = tracing::info_span!("request");
        let trace = context.scope(started.instrument(request)).await;
        process.end("1").await;
        let mut kinds = Vec::new();
        while kinds
            .last()
            .is_none_or(|kind| kind != "order.saga.compensated")
        {
            let event = heard.recv().await.unwrap();
            assert_eq!(
                event.correlationid.as_deref(),
                Some("request-7"),
                "{event:?}"
            );
            let parent = event.traceparent.unwrap();
            assert_eq!(
                parent.split('-').nth(1),
                Some(trace.as_str()),
                "{}",
                event.kind
            );
            kinds.push(event.kind);
        }
        assert_eq!(kinds.len(), 7, "{kinds:?}");
    });
}
