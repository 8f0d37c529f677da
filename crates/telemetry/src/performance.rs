//! How each operation did in the last minutes.
//!
//! What is guaranteed: memory is constant, whatever is recorded and for however long. An operation takes
//! at most ten histograms of ten kibibytes; there are at most [`Options::operations`] of them, and what
//! comes beyond is counted together as [`OTHER`]. A percentile is at most 1 % above the exact one.

mod window;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use env::Instant;
use serde::{Serialize, Serializer};
use window::Window;

/// The name under which operations beyond the limit are counted together.
pub const OTHER: &str = "(other)";

/// How long a monitor looks back, and at how many operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How far back a snapshot reaches, to within a tenth. Default five minutes, at least ten microseconds.
    pub window: Duration,
    /// How many operations are told apart. Default 100.
    pub operations: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(5 * 60),
            operations: 100,
        }
    }
}

/// Sliding windows over the durations and errors of named operations. A clone is a handle to the same.
///
/// ```
/// # use outrigger_telemetry::PerformanceMonitor;
/// # use std::time::Duration;
/// let monitor = PerformanceMonitor::default();
/// for millis in 1..=100 {
///     monitor.record("GET /orders/{id}", Duration::from_millis(millis), millis != 13);
/// }
/// let last = monitor.snapshot("GET /orders/{id}").expect("it was recorded");
/// assert_eq!((last.count, last.errors), (100, 1));
/// assert_eq!(last.p99.as_millis(), 99);
/// ```
#[derive(Debug, Clone)]
pub struct PerformanceMonitor {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    start: Instant,
    operations: RwLock<BTreeMap<Arc<str>, Arc<Mutex<Window>>>>,
}

/// What an operation did within the window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// Its name.
    pub operation: String,
    /// How long it was looked at: the window, or the monitor's life if that is shorter.
    #[serde(rename = "over_ms", serialize_with = "millis")]
    pub over: Duration,
    /// How often it ended.
    pub count: u64,
    /// How often it failed.
    pub errors: u64,
    /// Failures by ends, from 0 to 1.
    pub error_rate: f64,
    /// Ends a second.
    pub throughput: f64,
    /// The mean duration.
    #[serde(rename = "mean_ms", serialize_with = "millis")]
    pub mean: Duration,
    /// The duration that half of them did not exceed.
    #[serde(rename = "p50_ms", serialize_with = "millis")]
    pub p50: Duration,
    /// That 90 % did not exceed.
    #[serde(rename = "p90_ms", serialize_with = "millis")]
    pub p90: Duration,
    /// That 95 % did not exceed.
    #[serde(rename = "p95_ms", serialize_with = "millis")]
    pub p95: Duration,
    /// That 99 % did not exceed.
    #[serde(rename = "p99_ms", serialize_with = "millis")]
    pub p99: Duration,
    /// That 99.9 % did not exceed.
    #[serde(rename = "p99_9_ms", serialize_with = "millis")]
    pub p99_9: Duration,
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1000.0)
}

impl PerformanceMonitor {
    /// A monitor that begins to look now.
    pub fn new(options: Options) -> Self {
        Self {
            inner: Arc::new(Inner {
                options,
                start: env::instant(),
                operations: RwLock::default(),
            }),
        }
    }

    /// `operation` ended after `elapsed`, with success or not.
    pub fn record(&self, operation: &str, elapsed: Duration, success: bool) {
        let window = self.inner.window(operation);
        let age = self.inner.age();
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        window.record(age, elapsed, success);
    }

    /// How `operation` did; `None` if it never ended.
    pub fn snapshot(&self, operation: &str) -> Option<Snapshot> {
        let operations = self.inner.operations.read();
        let operations = operations.unwrap_or_else(PoisonError::into_inner);
        let (name, window) = operations.get_key_value(operation)?;
        Some(self.inner.read(name, window))
    }

    /// How every operation did, by name.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let operations = self.inner.operations.read();
        let operations = operations.unwrap_or_else(PoisonError::into_inner);
        let all = operations.iter();
        all.map(|(name, window)| self.inner.read(name, window))
            .collect()
    }
}

impl Default for PerformanceMonitor {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Inner {
    fn age(&self) -> Duration {
        env::instant().saturating_duration_since(self.start)
    }

    fn window(&self, operation: &str) -> Arc<Mutex<Window>> {
        let operations = self.operations.read();
        let operations = operations.unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = operations.get(operation) {
            return Arc::clone(window);
        }
        drop(operations);

        let operations = self.operations.write();
        let mut operations = operations.unwrap_or_else(PoisonError::into_inner);
        let full = operations.len() >= self.options.operations;
        let name = if full { OTHER } else { operation };
        let window = operations
            .entry(name.into())
            .or_insert_with(|| Arc::new(Mutex::new(Window::new(self.options.window))));
        Arc::clone(window)
    }

    fn read(&self, operation: &str, window: &Mutex<Window>) -> Snapshot {
        let age = self.age();
        let window = window.lock().unwrap_or_else(PoisonError::into_inner);
        window.snapshot(operation, age)
    }
}
