//! Why a call through a breaker failed.

use std::time::Duration;

/// Refused: the breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit is open; try again in {} ms", retry_after.as_millis())]
pub struct Open {
    /// When to try again.
    pub retry_after: Duration,
}

/// The error of a service behind a breaker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error<E> {
    /// The breaker is open: the service was not called.
    #[error(transparent)]
    Open(#[from] Open),
    /// The service failed.
    #[error("the call behind the circuit breaker failed")]
    Inner(#[source] E),
}
