//! Trace and span ids from the generator of the run, so that a simulated run repeats them.

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::IdGenerator;
use rand::Rng;

#[derive(Debug)]
pub(super) struct Ids;

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        let mut bytes = [0; 16];
        env::pure::aside(|| env::random().fill_bytes(&mut bytes));
        TraceId::from_bytes(bytes)
    }

    fn new_span_id(&self) -> SpanId {
        let mut bytes = [0; 8];
        env::pure::aside(|| env::random().fill_bytes(&mut bytes));
        SpanId::from_bytes(bytes)
    }
}
