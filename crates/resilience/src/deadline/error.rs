//! Why a call with a deadline failed.

/// The time for the call was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the call did not end before its deadline")]
pub struct Elapsed;

/// The error of a service with a deadline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error<E> {
    /// The time was over; the call was given up, or not made at all.
    #[error(transparent)]
    Elapsed(#[from] Elapsed),
    /// The service failed in time.
    #[error("the call with a deadline failed")]
    Inner(#[source] E),
}
