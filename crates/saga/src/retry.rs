//! How a call is tried again.

use std::{borrow::Cow, time::Duration};

use crate::{Failure, compensation::UNDO_ATTEMPTS};

/// How a call is tried again: after a time-out, and after the refusals that it names, but after no other. What the
/// business says no to, it says no to again.
///
/// ```
/// # use outrigger_saga as saga;
/// use std::time::Duration;
/// use saga::Retry;
///
/// // At most five attempts; pauses from 1 s, doubling, to 1 min.
/// let retry = Retry::times(5)
///     .pauses(Duration::from_secs(1), Duration::from_mins(1))
///     .after("provider-busy");
/// # drop(retry);
/// ```
///
/// Every attempt is a command of its own to the participant, which may be done more than once: try only what is
/// idempotent by what it says (an order's id, not a sum to be added).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    attempts: u32,
    first: Duration,
    longest: Duration,
    transient: Vec<Cow<'static, str>>,
}

impl Retry {
    /// At most `attempts` in all, at least one, with pauses from one second, doubling, to one minute.
    pub fn times(attempts: u32) -> Self {
        Self {
            attempts: attempts.max(1),
            first: Duration::from_secs(1),
            longest: Duration::from_mins(1),
            transient: Vec::new(),
        }
    }

    /// Pauses for `first` before the second attempt, then twice as long each time, but not for more than `longest`.
    /// Each is shortened by chance, by up to a half.
    #[must_use]
    pub fn pauses(self, first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            ..self
        }
    }

    /// A refusal with this code passes by itself, so the call is tried again after it too.
    #[must_use]
    pub fn after(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.transient.push(code.into());
        self
    }

    /// What a call does that says nothing.
    pub(crate) fn never() -> Self {
        Self::times(1)
    }

    /// The same, past the point of no return: as often as an undo.
    pub(crate) fn forward(&self) -> Self {
        match self.attempts {
            1 => Self {
                attempts: UNDO_ATTEMPTS,
                ..self.clone()
            },
            _ => self.clone(),
        }
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(crate) fn is_transient(&self, failure: &Failure) -> bool {
        let named = || self.transient.iter().any(|code| *code == failure.code);
        failure.is_timeout() || named()
    }

    /// The pause after attempt `attempt`, from 1.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}
