//! What can go wrong with streams and projections.

use crate::{Expected, Version};

/// Why events could not be appended or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else has appended meanwhile. Nothing was written: load the aggregate again, and decide anew.
    #[error("{stream} is at version {actual}, not {expected}")]
    VersionConflict {
        /// The stream.
        stream: String,
        /// What was expected of it.
        expected: Expected,
        /// The version that it has.
        actual: Version,
    },
    /// An event cannot be stored, because it does not name its type. Give its enum
    /// `#[serde(tag = "type", content = "data")]`.
    #[error("an event for {stream} is not of the form {{\"type\": …, \"data\": …}}")]
    Untagged {
        /// The stream that it was for.
        stream: String,
    },
    /// An event cannot be written as JSON.
    #[error("an event for {stream} cannot be written as JSON")]
    Encode {
        /// The stream that it was for.
        stream: String,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
    /// An event is of a type that the code does not know, or holds other data than that type should. It is not
    /// skipped: teach the code to read it.
    #[error("event {version} of {stream} has the type `{name}`, which this code cannot read")]
    Unreadable {
        /// The stream.
        stream: String,
        /// Its version.
        version: Version,
        /// The type that is stored.
        name: String,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
    /// A stream has lost an event, which no code of ours can do.
    #[error("{stream} has a gap: version {found} comes where {expected} should")]
    Gap {
        /// The stream.
        stream: String,
        /// The version that should come.
        expected: Version,
        /// The one that does.
        found: Version,
    },
    /// There is no such projection, or it has never run.
    #[error("there is no projection `{name}`")]
    NoProjection {
        /// The name that was asked for.
        name: String,
    },
    /// The database failed.
    #[error("the database failed")]
    Database(
        #[from]
        #[source]
        data::Error,
    ),
}

/// The result of most of what this crate does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether the same may succeed when it is tried again from its beginning.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::VersionConflict { .. } => true,
            Self::Database(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whether somebody else was quicker.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::VersionConflict { .. })
    }
}
