//! Why a call that failed is not made again. What its caller gets is the failure itself.

/// See the [module](crate::retry).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GaveUp {
    /// It was made as often as it may be.
    #[error("it was made as often as it may be")]
    Attempts,
    /// All calls together have spent their budget.
    #[error("the budget for retries is spent")]
    Budget,
    /// The caller would not wait for the next attempt.
    #[error("the deadline would be over before the next attempt")]
    Deadline,
    /// The service asks for more time than is given to anybody.
    #[error("the service asks to wait longer than a retry does")]
    RetryAfter,
}
