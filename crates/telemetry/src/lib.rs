//! Traces, logs, metrics and performance windows.
//!
//! What is guaranteed: one request from outside is one trace, through every call, event and saga that
//! it causes; every log line written on its way carries the trace id and the correlation id; whatever is
//! measured takes bounded memory, however long a process lives and whatever is asked of it.
//!
//! `tracing` is the only interface that code above needs for spans and logs. Two span fields have a
//! meaning here, and every line inside the span carries them: `service` and `correlation_id`.
//!
//! Start at [`http::ServerLayer`]: it is where all of it meets.
//!
//! | module | subject |
//! |---|---|
//! | [`logging`] | installing all this: log lines for people or machines, spans with deterministic ids |
//! | [`propagation`] | W3C trace context into and out of headers and envelopes |
//! | [`http`] | the layer in front of every HTTP service |
//! | [`metrics`] | the counts and durations of one service, in OpenMetrics text |
//! | [`performance`] | how each operation did in the last minutes: percentiles, errors, throughput |
//!
//! ```
//! # use outrigger_telemetry as telemetry;
//! use telemetry::{logging, propagation};
//!
//! let options = logging::Options::new("shop").filter("info");
//! let (subscriber, _guard) = logging::dispatch(options)?;
//! tracing::dispatcher::with_default(&subscriber, || {
//!     let span = tracing::info_span!("order", service = "order-service");
//!     propagation::set_parent(&span, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
//!     let _entered = span.enter();
//!     let id = propagation::trace_id();
//!     assert_eq!(id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
//! });
//! # Ok::<(), telemetry::Error>(())
//! ```

mod error;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod performance;
pub mod propagation;

pub use error::Error;
pub use metrics::Metrics;
pub use performance::PerformanceMonitor;
