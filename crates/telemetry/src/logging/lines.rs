//! The subscriber layer that writes a line for each event.

use tracing::{
    Event, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

use super::{
    Format, Output,
    labels::Labels,
    line::{Content, Line},
};
use crate::propagation;

pub(super) struct Lines {
    service: String,
    format: Format,
    output: Output,
    colour: bool,
}

impl Lines {
    pub(super) fn new(service: String, format: Format, output: Output, colour: bool) -> Self {
        Self {
            service,
            format,
            output,
            colour,
        }
    }
}

fn labels<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>) -> Labels {
    let extensions = span.extensions();
    extensions.get::<Labels>().cloned().unwrap_or_default()
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut own = span
            .parent()
            .map(|parent| labels(&parent))
            .unwrap_or_default();
        attributes.record(&mut own);
        span.extensions_mut().insert(own);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(own) = span.extensions_mut().get_mut::<Labels>() {
            values.record(own);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let span = context.event_span(event);
        let labels = span.as_ref().map(labels).unwrap_or_default();
        let mut content = Content::default();
        event.record(&mut content);
        let line = Line {
            timestamp: env::pure::aside(env::now),
            level: *event.metadata().level(),
            service: labels.service.as_deref().unwrap_or(&self.service),
            target: event.metadata().target(),
            content,
            span: span.as_ref().map(SpanRef::name),
            trace: propagation::current(),
            correlation_id: labels.correlation_id.as_deref(),
        };
        let text = match self.format {
            Format::Human => line.human(self.colour),
            Format::Json => line.json(),
        };
        self.output.write(&text);
    }
}
