//! Why a hedged call failed, and how two requests for one answer ended.

/// The error of a hedged service: both requests failed, or the only one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the call failed, and so did a second request for it if one was sent")]
pub struct Error<E>(#[source] pub E);

/// Which request answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The first.
    First,
    /// The second.
    Second,
}
