//! What can go wrong with events, and whether trying again helps.

use env::{BoxError, causes};

/// Why an event could not be published, delivered or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An event does not serialize.
    #[error("event {id} of type {kind} cannot be written as JSON")]
    Encode {
        /// Its type.
        kind: String,
        /// Its id.
        id: String,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
    /// A service publishes what it has not declared.
    #[error(
        "{service} publishes {kind} v{version} without declaring it; \
         add `.publishes::<..>()` of that event to the description of {service}"
    )]
    Undeclared {
        /// The service.
        service: String,
        /// The event's type.
        kind: &'static str,
        /// The version of its schema.
        version: u32,
    },
    /// An event is larger than any bus need carry.
    #[error(
        "event {id} of type {kind} has {size} bytes, at most {limit} are carried; \
         store what is large and publish where it is"
    )]
    TooLarge {
        /// Its type.
        kind: String,
        /// Its id.
        id: String,
        /// Bytes of its JSON.
        size: usize,
        /// Bytes that are carried.
        limit: usize,
    },
    /// What came is not a CloudEvent of version 1.0.
    #[error("not a CloudEvent: {reason}")]
    InvalidEnvelope {
        /// Which attribute, and what it must be.
        reason: String,
    },
    /// The data of an event is not what its type says.
    #[error("the data of event {id} of type {kind} cannot be read at `{path}`")]
    Undecodable {
        /// Its type.
        kind: String,
        /// Its id.
        id: String,
        /// The field, with dots.
        path: String,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
    /// An event has a version of its schema that this reader does not know.
    #[error("event {id} of type {kind} has version {version}, known is {known}; update the reader")]
    UnknownVersion {
        /// Its type.
        kind: String,
        /// Its id.
        id: String,
        /// The version that it has.
        version: u32,
        /// The version that the reader has.
        known: u32,
    },
    /// An event is read as another than it is.
    #[error("event {id} has type {actual}, not {expected}")]
    WrongType {
        /// Its id.
        id: String,
        /// Its type.
        actual: String,
        /// The type that it is read as.
        expected: &'static str,
    },
    /// A subscription asks for what cannot be the type of an event.
    #[error(
        "`{pattern}` is neither an event type nor a pattern; \
         write `order.created`, or `order.*` for all that begin so"
    )]
    InvalidPattern {
        /// What was asked for.
        pattern: String,
    },
    /// There is no such dead letter; it may have been replayed or dropped meanwhile.
    #[error("there is no dead letter {id}; list the dead letters to see which there are")]
    NoDeadLetter {
        /// The id of the event.
        id: String,
    },
    /// What is given as the place where a list goes on is none.
    #[error("`{cursor}` is no place in a list of dead letters; take `next` of the page before")]
    InvalidCursor {
        /// What was given.
        cursor: String,
    },
    /// The URL of the bus cannot be used.
    #[error("the URL of the bus cannot be used: {reason}; write `nats://host:4222`, see the guide")]
    InvalidUrl {
        /// What is wrong with it; never a secret.
        reason: String,
    },
    /// The bus is there, and cannot give what is guaranteed.
    #[error("{what} cannot be used: {reason}")]
    Unsuitable {
        /// The server or the stream.
        what: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A group is to be taken back that never subscribed.
    #[error("no group `{group}` has subscribed to the bus; a group has the name of its service")]
    UnknownGroup {
        /// What was asked for.
        group: String,
    },
    /// The bus does not answer; what was asked of it may be asked again.
    #[error("the bus does not answer")]
    Unavailable {
        /// What its backend says.
        #[source]
        source: BoxError,
    },
    /// The database of the service, or that of the bus, failed.
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
    /// Whether the event itself is at fault, so that no retry can help: it goes to the dead letters at once.
    pub fn is_poison(&self) -> bool {
        match self {
            Self::InvalidEnvelope { .. }
            | Self::Undecodable { .. }
            | Self::UnknownVersion { .. }
            | Self::WrongType { .. } => true,
            Self::Encode { .. }
            | Self::Undeclared { .. }
            | Self::TooLarge { .. }
            | Self::InvalidPattern { .. }
            | Self::NoDeadLetter { .. }
            | Self::InvalidCursor { .. }
            | Self::InvalidUrl { .. }
            | Self::Unsuitable { .. }
            | Self::UnknownGroup { .. }
            | Self::Unavailable { .. }
            | Self::Database(_) => false,
        }
    }

    /// Whether it is the event that cannot be published, as it is: others can.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Encode { .. } | Self::TooLarge { .. } | Self::InvalidEnvelope { .. }
        )
    }

    /// Whether the same may succeed when it is tried again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Database(error) => error.is_retryable(),
            _ => false,
        }
    }
}

/// Whether `error`, or what caused it, says that the event itself is at fault.
pub(crate) fn is_poison(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|cause| cause.downcast_ref().is_some_and(Error::is_poison))
}

/// Whether `error`, or what caused it, says that the database cannot work now, whatever the event is.
pub(crate) fn is_outage(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|cause| cause.downcast_ref().is_some_and(data::Error::is_retryable))
}

/// Whether `error`, or what caused it, says that a transaction met another one.
pub(crate) fn is_conflict(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|cause| cause.downcast_ref().is_some_and(data::Error::is_conflict))
}
