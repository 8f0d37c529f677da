//! W3C trace context across processes: into and out of HTTP headers and message envelopes.
//!
//! What is guaranteed: the trace id of the span that is entered here is the trace id of every span that
//! is parented from what was injected. Where no trace is being recorded, nothing is injected; what is
//! malformed is ignored, and the receiver starts a trace of its own.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{SpanContext, TraceContextExt},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::{OpenTelemetrySpanExt, SetParentError};

/// `version-traceid-spanid-flags`.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What vendors add to the trace context; handed on as it came.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Writes the context of the entered span into the headers of a call.
pub fn inject(headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject(&mut Outgoing(headers));
}

/// Makes the caller's span, as its headers tell, the parent of `span`.
///
/// `span` must not have been entered yet: its place in a trace is fixed by then.
pub fn parent_from_headers(span: &Span, headers: &HeaderMap) {
    adopt(span, &Incoming::from_headers(headers));
}

/// The context of the entered span in the form of a `traceparent` header, for an envelope.
pub fn traceparent() -> Option<String> {
    let mut headers = HeaderMap::new();
    inject(&mut headers);
    let value = headers.get(TRACEPARENT)?;
    value.to_str().ok().map(str::to_owned)
}

/// Makes the span that `traceparent` names the parent of `span`, which must not have been entered yet.
pub fn set_parent(span: &Span, traceparent: &str) {
    let incoming = Incoming {
        traceparent: Some(traceparent),
        tracestate: None,
    };
    adopt(span, &incoming);
}

/// The trace id of the entered span, in lower-case hexadecimal.
pub fn trace_id() -> Option<String> {
    current().map(|span| span.trace_id().to_string())
}

/// The entered span as OpenTelemetry knows it.
pub(crate) fn current() -> Option<SpanContext> {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| span.clone())
    })
}

/// Gives the entered span another name.
pub(crate) fn rename(name: String) {
    Context::map_current(|context| context.span().update_name(name));
}

fn adopt(span: &Span, incoming: &Incoming<'_>) {
    let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), incoming);
    if !parent.span().span_context().is_valid() {
        return;
    }
    // The other errors say that nobody records this span, so that there is nothing to parent.
    if let Err(SetParentError::AlreadyStarted) = span.set_parent(parent) {
        tracing::warn!("a span was entered before its remote parent was set; the trace is broken");
    }
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = match key {
            "traceparent" => TRACEPARENT,
            "tracestate" if !value.is_empty() => TRACESTATE,
            _ => return,
        };
        if let Ok(value) = HeaderValue::try_from(value) {
            self.0.insert(name, value);
        }
    }
}

struct Incoming<'a> {
    traceparent: Option<&'a str>,
    tracestate: Option<Cow<'a, str>>,
}

impl<'a> Incoming<'a> {
    fn from_headers(headers: &'a HeaderMap) -> Self {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let traceparent = match (parents.next(), parents.next()) {
            (Some(only), None) => only.to_str().ok(),
            // Two parents are no parent (W3C trace context, section 4.3).
            _ => None,
        };
        let mut states = headers
            .get_all(TRACESTATE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let tracestate = states.next().map(|first| {
            states.fold(Cow::Borrowed(first), |all, next| {
                Cow::Owned(format!("{all},{next}"))
            })
        });
        Self {
            traceparent,
            tracestate,
        }
    }
}

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.traceparent,
            "tracestate" => self.tracestate.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}
