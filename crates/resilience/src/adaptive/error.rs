//! Why a call through an adaptive limit failed.

/// Refused: as many calls are under way as the service answers in good time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{limit} calls are under way, which is all that can be answered in good time; try again later"
)]
pub struct Limited {
    /// So many calls may be under way now.
    pub limit: u32,
}

/// The error of a service behind an adaptive limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error<E> {
    /// The limit is reached: the service was not called.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The service failed.
    #[error("the call behind the adaptive limit failed")]
    Inner(#[source] E),
}
