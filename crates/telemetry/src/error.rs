//! What can go wrong before anything is observed; observing itself does not fail.

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log filter does not parse.
    #[error(
        "`{filter}` is not a log filter; write a level, or directives such as `info,outrigger_saga=debug`"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// Where it is wrong.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was installed before; a process has one.
    #[error("logging is already installed in this process")]
    AlreadyInstalled,
    /// Two metrics of one service would have the same name.
    #[error("a metric named `{0}` is already registered; give one of the two another name")]
    DuplicateMetric(String),
    /// Not a metric name.
    #[error("`{0}` is not a metric name; use lower-case letters, digits and underscores")]
    MetricName(String),
}
