//! Installing logs and traces: where lines go, in which form, and where finished spans go.
//!
//! What is guaranteed: the filter decides only which lines are written. Spans of level info and above
//! are recorded whatever it says, so that trace ids (which come from `env::random()`) are the same at
//! every log level, and every line carries its trace id, service and correlation id.

mod ids;
mod labels;
mod line;
mod lines;

use std::{
    io::{self, IsTerminal, Write},
    sync::Arc,
};

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanProcessor, TracerProviderBuilder};
use tracing::{Dispatch, Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
};

use crate::Error;
use lines::Lines;

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For a person at a terminal.
    #[default]
    Human,
    /// One JSON object a line, for a log collector.
    Json,
}

/// Where log lines go.
#[derive(Clone, Default)]
pub enum Output {
    /// Standard error, so that standard output stays free for data.
    #[default]
    Stderr,
    /// Standard output, where a container's log is often read from.
    Stdout,
    /// A function that is given each line with its newline.
    Sink(Arc<dyn Fn(&str) + Send + Sync>),
}

impl Output {
    fn write(&self, line: &str) {
        // A line that cannot be written has nowhere left to be reported.
        let _ = match self {
            Self::Stderr => io::stderr().lock().write_all(line.as_bytes()),
            Self::Stdout => io::stdout().lock().write_all(line.as_bytes()),
            Self::Sink(sink) => {
                sink(line);
                Ok(())
            }
        };
    }

    fn is_terminal(&self) -> bool {
        match self {
            Self::Stderr => io::stderr().is_terminal(),
            Self::Stdout => io::stdout().is_terminal(),
            Self::Sink(_) => false,
        }
    }
}

/// What to log, how and where to.
pub struct Options {
    service: String,
    format: Format,
    filter: String,
    output: Output,
    traces: TracerProviderBuilder,
    spans_are_read: bool,
    unrecorded: Option<&'static str>,
}

impl Options {
    /// Lines of level info for people on standard error. `service` is the name on the lines that are
    /// written outside of any span with a `service` field.
    pub fn new(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            format: Format::default(),
            filter: "info".to_owned(),
            output: Output::default(),
            traces: SdkTracerProvider::builder()
                .with_id_generator(ids::Ids)
                .with_sampler(Sampler::AlwaysOn),
            spans_are_read: false,
            unrecorded: None,
        }
    }

    /// The form of the lines. Default [`Format::Human`].
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Which lines are written: a level, or directives such as `info,outrigger_saga=debug`. Default `info`.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = filter.into();
        self
    }

    /// Where the lines go. Default [`Output::Stderr`].
    #[must_use]
    pub fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// Records no spans of `target`: of a library that makes one for each of its steps. Default none.
    #[must_use]
    pub fn without_spans_of(mut self, target: &'static str) -> Self {
        self.unrecorded = Some(target);
        self
    }

    /// Gives every finished span to `processor`: an exporter, or a test.
    #[must_use]
    pub fn span_processor(mut self, processor: impl SpanProcessor + 'static) -> Self {
        self.traces = self.traces.with_span_processor(processor);
        self.spans_are_read = true;
        self
    }
}

/// Hands the last spans to their processors when dropped.
#[must_use = "telemetry is flushed and shut down when the guard is dropped"]
#[derive(Debug)]
pub struct Guard {
    traces: SdkTracerProvider,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.traces.shutdown() {
            tracing::warn!(%error, "the last spans may be lost");
        }
    }
}

/// Installs logs and traces for the whole process.
///
/// # Errors
/// [`Error::Filter`], and [`Error::AlreadyInstalled`] the second time.
pub fn init(options: Options) -> Result<Guard, Error> {
    let (dispatch, guard) = dispatch(options)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| Error::AlreadyInstalled)?;
    Ok(guard)
}

/// Logs and traces for a part of the process, such as the thread of a simulation or a test: make it the
/// default there with `tracing::dispatcher::set_default`.
///
/// # Errors
/// [`Error::Filter`].
pub fn dispatch(options: Options) -> Result<(Dispatch, Guard), Error> {
    let filter = EnvFilter::try_new(&options.filter).map_err(|source| Error::Filter {
        filter: options.filter.clone(),
        source,
    })?;
    let provider = options.traces.build();

    // Without a reader, an event in a span would only take memory until the span ends.
    let events = options.spans_are_read;
    let unrecorded = options.unrecorded;
    let is_recorded = move |metadata: &Metadata<'_>| {
        *metadata.level() <= Level::INFO && Some(metadata.target()) != unrecorded
    };
    let recorded =
        move |metadata: &Metadata<'_>| is_recorded(metadata) && (events || metadata.is_span());
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("outrigger"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(recorded).with_max_level_hint(LevelFilter::INFO));

    // Spans pass whatever the filter says: they name the service and the request of a line.
    let labelling = filter_fn(move |metadata| metadata.is_span() && is_recorded(metadata));
    let labelling = labelling.with_max_level_hint(LevelFilter::INFO);
    let colour = options.output.is_terminal() && options.format == Format::Human;
    let lines = Lines::new(options.service, options.format, options.output, colour)
        .with_filter(filter.or(labelling));

    let subscriber = Registry::default().with(traces).with(lines);
    Ok((Dispatch::new(subscriber), Guard { traces: provider }))
}
