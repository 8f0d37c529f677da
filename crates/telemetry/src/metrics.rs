//! The counts and durations of one service, in OpenMetrics text.
//!
//! What is guaranteed: a label never holds what a client chose. Routes are templates, methods those that
//! HTTP defines, types of messages those that the service declares; so the number of series is bounded
//! by the system's description, whatever is asked of it. Names follow OpenTelemetry's conventions in
//! their Prometheus form.

mod admission;
mod calls;
mod http;
mod messaging;
mod state;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use messaging::Outcome;
/// The metric types that [`Metrics::register`] takes.
pub use prometheus_client::metrics::{
    counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{family::MetricConstructor, gauge::ConstGauge},
    registry::{Metric, Registry},
};
pub use state::Breaker;

pub(crate) use http::ActiveRequest;

use crate::Error;

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The bounds of a duration's buckets in seconds, as OpenTelemetry advises for HTTP, with finer ones below:
/// an event handler takes less than a millisecond.
const DURATIONS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
    10.0,
];

/// The metrics of one service. A clone is a handle to the same ones.
///
/// ```
/// # use outrigger_telemetry::Metrics;
/// let metrics = Metrics::new("order-service");
/// metrics.http_server(&http::Method::GET, "/orders/{id}", 200, std::time::Duration::from_millis(3));
/// assert!(metrics.render().contains(r#"http_route="/orders/{id}""#));
/// ```
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    service: Arc<str>,
    registry: Mutex<Named>,
    admission: admission::Families,
    calls: calls::Families,
    http: http::Families,
    messaging: messaging::Families,
    state: state::Families,
}

struct Named {
    registry: Registry,
    names: BTreeSet<String>,
}

impl Metrics {
    /// The metrics of `service`, which is a label of every series.
    pub fn new(service: &str) -> Self {
        let label = ("service".into(), service.to_owned().into());
        let mut named = Named {
            registry: Registry::with_labels(std::iter::once(label)),
            names: BTreeSet::new(),
        };
        let admission = admission::Families::register(&mut named);
        let calls = calls::Families::register(&mut named);
        let http = http::Families::register(&mut named);
        let messaging = messaging::Families::register(&mut named);
        let state = state::Families::register(&mut named);
        Self {
            inner: Arc::new(Inner {
                service: service.into(),
                registry: Mutex::new(named),
                admission,
                calls,
                http,
                messaging,
                state,
            }),
        }
    }

    /// The service whose metrics these are.
    pub fn service(&self) -> &Arc<str> {
        &self.inner.service
    }

    /// Adds a metric of the caller's own, who keeps a clone to write to. `help` is a sentence without its
    /// full stop; a counter's name goes without `_total`, which is added.
    ///
    /// # Errors
    /// [`Error::MetricName`] and [`Error::DuplicateMetric`].
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) -> Result<(), Error> {
        let mut named = self.lock();
        named.claim(name)?;
        named.registry.register(name, help, metric);
        Ok(())
    }

    /// Adds a gauge that is read when the metrics are.
    ///
    /// `read` must be quick, must not wait, and must not use these metrics.
    ///
    /// # Errors
    /// [`Error::MetricName`] and [`Error::DuplicateMetric`].
    pub fn register_gauge(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let mut named = self.lock();
        named.claim(name)?;
        named.registry.register_collector(Box::new(GaugeOf {
            name: name.to_owned(),
            help: help.to_owned(),
            read,
        }));
        Ok(())
    }

    /// All of it as OpenMetrics text, whose media type is [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.lock().registry);
        text
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Named> {
        let registry = &self.inner.registry;
        registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("service", &self.inner.service)
            .finish_non_exhaustive()
    }
}

impl Named {
    fn claim(&mut self, name: &str) -> Result<(), Error> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let rest = |byte: u8| plain(byte) || byte.is_ascii_digit();
        let mut bytes = name.bytes();
        if !bytes.next().is_some_and(plain) || !bytes.all(rest) {
            return Err(Error::MetricName(name.to_owned()));
        }
        if !self.names.insert(name.to_owned()) {
            return Err(Error::DuplicateMetric(name.to_owned()));
        }
        Ok(())
    }

    /// Registers a metric of the platform, whose names are known to differ.
    fn own<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.claim(name).expect("the platform's names differ");
        self.registry.register(name, help, metric.clone());
        metric
    }
}

/// Makes the histograms of a family of durations.
#[derive(Clone, Debug)]
struct Durations;

impl MetricConstructor<Histogram> for Durations {
    fn new_metric(&self) -> Histogram {
        Histogram::new(DURATIONS)
    }
}

/// Durations in seconds by the labels `L`.
type DurationFamily<L> = Family<L, Histogram, Durations>;

fn durations<L: Clone + Eq + std::hash::Hash>() -> DurationFamily<L> {
    Family::new_with_constructor(Durations)
}

fn observe<L: Clone + Eq + std::hash::Hash>(
    family: &DurationFamily<L>,
    labels: &L,
    elapsed: Duration,
) {
    family.get_or_create(labels).observe(elapsed.as_secs_f64());
}

struct GaugeOf<F> {
    name: String,
    help: String,
    read: F,
}

impl<F> fmt::Debug for GaugeOf<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GaugeOf").field(&self.name).finish()
    }
}

impl<F: Fn() -> f64 + Send + Sync + 'static> Collector for GaugeOf<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let gauge = ConstGauge::new((self.read)());
        let metric =
            encoder.encode_descriptor(&self.name, &self.help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}
