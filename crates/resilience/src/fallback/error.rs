//! Why a call with a fallback failed.

/// The service failed, and the fallback had no answer either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the call failed, and its fallback has no answer")]
pub struct Error<E>(#[source] pub E);
