//! Why a request was not taken, or failed.

use std::time::Duration;

use super::Priority;

/// Refused: there is no room for a request of this priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much to do for a request of {priority:?} priority; try again in {} ms", retry_after.as_millis())]
pub struct Overloaded {
    /// Of the request.
    pub priority: Priority,
    /// When to come again.
    pub retry_after: Duration,
}

/// The error of a service that sheds load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error<E> {
    /// There is too much to do: the service was not called.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The service failed.
    #[error("the call that was not shed failed")]
    Inner(#[source] E),
}
