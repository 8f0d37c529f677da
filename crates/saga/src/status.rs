//! A saga from the outside: how far it is, and how it ended.

use std::fmt;

use env::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Failure, step::Progress};

/// How far a saga is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It goes forward.
    Running,
    /// It takes back what it did.
    Compensating,
    /// It succeeded.
    Completed,
    /// It failed, and everything is taken back.
    Compensated,
    /// It cannot go on by itself.
    Parked,
}

impl State {
    /// All that there are.
    pub const ALL: [Self; 5] = [
        Self::Running,
        Self::Compensating,
        Self::Completed,
        Self::Compensated,
        Self::Parked,
    ];

    /// What operators are shown first: sagas that cannot go on, and sagas that take back what they did.
    pub const TROUBLED: [Self; 2] = [Self::Parked, Self::Compensating];

    /// Its name: `running`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Parked => "parked",
        }
    }

    /// Whether nothing changes it any more.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Compensated)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    pub(crate) fn of(progress: &Progress) -> Self {
        match progress {
            Progress::Running => Self::Running,
            Progress::Compensating(_) => Self::Compensating,
            Progress::Completed => Self::Completed,
            Progress::Compensated(_) => Self::Compensated,
            Progress::Parked(_) => Self::Parked,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a saga came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded.
    Completed,
    /// It failed, and everything that it did is taken back.
    Compensated(Failure),
    /// It stands still until an operator [resumes](crate::Sagas::resume) it.
    Parked {
        /// Why.
        reason: String,
    },
}

/// A saga as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its id.
    pub id: String,
    /// Which saga it is: `place-order`.
    pub saga: String,
    /// How far it is.
    pub state: State,
    /// Why it failed, where it did.
    pub failure: Option<Failure>,
    /// Why it is parked, where it is.
    pub parked: Option<String>,
    /// The request that it is for.
    pub correlation_id: String,
    /// When it was started.
    pub started: Timestamp,
    /// When something last happened to it.
    pub updated: Timestamp,
}

impl Status {
    /// What it came to; `None` while it goes on.
    pub fn outcome(self) -> Option<Outcome> {
        match self.state {
            State::Running | State::Compensating => None,
            State::Completed => Some(Outcome::Completed),
            State::Compensated => self.failure.map(Outcome::Compensated),
            State::Parked => Some(Outcome::Parked {
                reason: self.parked.unwrap_or_default(),
            }),
        }
    }
}
