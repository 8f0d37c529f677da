//! What a look at a part of a system has found, for an operator.

use serde::Serialize;

/// How much a [`Finding`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It is as it should be.
    Fine,
    /// Worth knowing; nothing need be done.
    Note,
    /// A guarantee is weaker than it could be.
    Warning,
    /// A guarantee does not hold, or the part does not work.
    Error,
}

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What was looked at.
    pub subject: String,
    /// What is so.
    pub found: String,
    /// What to do; empty when there is nothing to do.
    pub advice: String,
}

impl Finding {
    /// A finding of `severity` about `subject`.
    pub fn new(
        severity: Severity,
        subject: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            subject: subject.into(),
            found: found.into(),
            advice: advice.into(),
        }
    }

    /// That `subject` is as it should be.
    pub fn fine(subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Severity::Fine, subject, found, "")
    }
}
