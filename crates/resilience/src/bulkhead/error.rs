//! Why a call through a bulkhead failed.

/// Refused: all places were taken, and no more may wait, or the wait was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{concurrent} calls are under way already, and others wait; try again later")]
pub struct Full {
    /// So many calls it holds at once.
    pub concurrent: usize,
}

/// The error of a service behind a bulkhead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error<E> {
    /// The bulkhead is full: the service was not called.
    #[error(transparent)]
    Full(#[from] Full),
    /// The service failed.
    #[error("the call behind the bulkhead failed")]
    Inner(#[source] E),
}
