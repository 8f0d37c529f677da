//! Traces, logs, metrics and performance windows.

pub mod propagation;
