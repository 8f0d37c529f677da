//! Why a call through a rate limit failed.

use std::time::Duration;

/// Refused: the key has used up what it may do for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests; the next may be made in {} ms", retry_after.as_millis())]
pub struct Refused {
    /// When to come again.
    pub retry_after: Duration,
}

/// The error of a service behind a rate limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error<E> {
    /// There were too many requests: the service was not called.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The service failed.
    #[error("the call behind the rate limit failed")]
    Inner(#[source] E),
}
