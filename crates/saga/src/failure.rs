//! A refusal by the business, as opposed to something that broke.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The code of a step that did not answer in time, so that nobody knows whether it was done.
pub const TIMEOUT: &str = "timeout";
/// The code of a step that was not done before its time was over, and will not be. See [`Saga::call`](crate::Saga::call).
pub const EXPIRED: &str = "expired";
/// The code of a saga that did not end by its [deadline](crate::Saga::deadline).
pub const DEADLINE: &str = "deadline";
/// The code of a saga that was [cancelled](crate::Sagas::cancel).
pub const CANCELLED: &str = "cancelled";

/// Why a step was refused, or why a whole saga came to nothing.
///
/// It is deliberately not a [`std::error::Error`]: in a command handler `?` on a `Failure` refuses the command, and
/// `?` on any error fails it, to be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of refusal, in kebab case, for programs: `insufficient-inventory`.
    pub code: String,
    /// What was refused and why, for people.
    pub detail: String,
}

impl Failure {
    /// A refusal of the kind `code`.
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            detail: detail.into(),
        }
    }

    /// Whether the step did not answer in time, or was not done in time, as opposed to having answered no.
    pub fn is_timeout(&self) -> bool {
        self.is_unknown() || self.code == EXPIRED
    }

    /// Whether the step may have been done, or may yet be.
    pub(crate) fn is_unknown(&self) -> bool {
        self.code == TIMEOUT
    }

    pub(crate) fn cancelled(why: &str) -> Self {
        Self::new(CANCELLED, why)
    }

    pub(crate) fn deadline() -> Self {
        Self::new(DEADLINE, "The saga did not end in time.")
    }

    pub(crate) fn expired(topic: &str) -> Self {
        Self::new(
            EXPIRED,
            format!("`{topic}` came too late, and is not done."),
        )
    }

    pub(crate) fn timeout(topic: &str) -> Self {
        Self::new(TIMEOUT, format!("`{topic}` did not answer in time."))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}
