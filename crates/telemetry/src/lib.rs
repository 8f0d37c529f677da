//! Traces, logs, metrics and performance windows.
