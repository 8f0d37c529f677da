//! What can go wrong with streams and projections.

use crate::{Expected, Position, Version};

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
    /// An event cannot be stored, because its type has a name like those of the store's own events.
    #[error(
        "an event for {stream} has the type `{name}`: names that begin with `$` are the store's own"
    )]
    ReservedType {
        /// The stream that it was for.
        stream: String,
        /// The type.
        name: String,
    },
    /// The stream was archived. Its events can be read with [`Store::archived`](crate::Store::archived), and no more can be
    /// appended.
    #[error("{stream} was archived")]
    Archived {
        /// The stream.
        stream: String,
    },
    /// The key of a person is damaged, which no code of ours can have done.
    #[error("the key {id} of personal data is not one")]
    PersonalKey {
        /// The id of the key.
        id: String,
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
    /// What is known of the request cannot be written as JSON, which no code of ours can cause.
    #[error("what an event is part of cannot be written as JSON")]
    Metadata {
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
    /// An event is of a type that the code does not know, or holds other data than that type should. It is not
    /// skipped: teach the code to read it.
    #[error(
        "event {version} of {stream} has the type `{name}` (schema version {schema}), which this code cannot read"
    )]
    Unreadable {
        /// The stream.
        stream: String,
        /// Its version.
        version: Version,
        /// The type that is stored.
        name: String,
        /// The schema version that is stored.
        schema: u32,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
    /// An event is stored in a schema version that no [`Upcaster`](crate::Upcaster) leads from to the one that the code
    /// reads. It is not skipped: if a newer version of the service wrote it, run that one; else add the missing step.
    #[error(
        "event {version} of {stream} is a `{name}` in schema version {stored}, which can be brought to {reached}; \
         this code reads {known}"
    )]
    SchemaVersion {
        /// The stream.
        stream: String,
        /// Its version.
        version: Version,
        /// The type that is stored.
        name: String,
        /// The schema version that is stored.
        stored: u32,
        /// How far the upcasters bring it.
        reached: u32,
        /// The one that the code reads.
        known: u32,
    },
    /// A position of another engine's event store. Take one from this store, or begin at
    /// [`Position::START`].
    #[error("position {position} is not one of this event store")]
    ForeignPosition {
        /// The position.
        position: Position,
    },
    /// Another transaction has taken a version between the look at the stream and the write. It cannot be at the
    /// isolation that `data` promises. Roll back, and run the transaction again.
    #[error("another transaction has appended at the same time: run this one again")]
    Overtaken,
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
    /// A version of a projection cannot be built beside another one, or emptied, because it does not say which tables
    /// are its own. Name them in [`Projection::tables`](crate::Projection::tables).
    #[error("version {version} of the projection `{name}` names no tables of its own")]
    NoTables {
        /// The projection.
        name: String,
        /// Its version.
        version: u32,
    },
    /// A table of a projection has a name that will not do. Write lower-case letters, digits and `_`, at most 48.
    #[error("a projection cannot have a table named `{name}`")]
    TableName {
        /// The name.
        name: String,
    },
    /// What is stored about a projection cannot be read, which no code of ours can have written.
    #[error("what is stored about the projection `{name}` is damaged: {what}")]
    Damaged {
        /// The projection.
        name: String,
        /// What is wrong.
        what: String,
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
            Self::VersionConflict { .. } | Self::Overtaken => true,
            Self::Database(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whether somebody else was quicker.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::VersionConflict { .. })
    }
}
