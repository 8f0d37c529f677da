//! What the tests watch: lines as they are written, spans as they end.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use outrigger_telemetry::logging::{self, Format, Guard, Options, Output};
use tracing::dispatcher::DefaultGuard;

/// Telemetry of this thread alone, into memory, until it is dropped.
pub(crate) struct Watch {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Spans,
    _default: DefaultGuard,
    _guard: Guard,
}

#[derive(Clone, Debug, Default)]
struct Spans(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Spans {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Watch {
    pub(crate) fn new(format: Format, filter: &str) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let spans = Spans::default();
        let options = Options::new("shop")
            .format(format)
            .filter(filter)
            .output(Output::Sink(Arc::new(move |line: &str| {
                sink.lock().unwrap().push(line.to_owned());
            })))
            .span_processor(spans.clone());
        let (dispatch, guard) = logging::dispatch(options).unwrap();
        Self {
            lines,
            spans,
            _default: tracing::dispatcher::set_default(&dispatch),
            _guard: guard,
        }
    }

    /// The lines since the last look.
    pub(crate) fn lines(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }

    /// The spans that ended since the last look.
    pub(crate) fn spans(&self) -> Vec<SpanData> {
        std::mem::take(&mut self.spans.0.lock().unwrap())
    }
}
