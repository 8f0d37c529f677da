//! Why the hub cannot do what was asked.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use env::{Problem, chain};

/// The result of what the hub does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the hub failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its database does not do what it should.
    #[error("the database of the hub failed")]
    Database(#[from] data::Error),
    /// What its database holds is no instance.
    #[error(
        "the hub's database holds an instance {id} that cannot be read; was it written by a later version?"
    )]
    Unreadable {
        /// The id.
        id: String,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
    /// The registry refuses it.
    #[error(transparent)]
    Registry(#[from] discovery::Error),
    /// The bus refuses it.
    #[error(transparent)]
    Events(#[from] events::Error),
    /// Nobody of this id is a member: it was silent for too long, has left, or joined before the hub was restarted.
    #[error("there is no member {member} of {group} (any more); join again")]
    UnknownMember {
        /// The group.
        group: String,
        /// The id.
        member: String,
    },
    /// The group is not being taken back under this id (any more).
    #[error("there is no rewind {rewind} of {group} (any more); begin again")]
    UnknownRewind {
        /// The group.
        group: String,
        /// The id.
        rewind: String,
    },
    /// A group is to be forgotten that has members.
    #[error("{group} has {members} members, and is needed; stop them first")]
    GroupInUse {
        /// The group.
        group: String,
        /// How many.
        members: usize,
    },
    /// A member asks for more than it can hold.
    #[error("the member holds {limit} events, and gets no more; settle some first")]
    HoldsTooMuch {
        /// How many it may hold.
        limit: usize,
    },
    /// Another pull of the member has come, the member has left, or the hub stops.
    #[error("the wait was ended: by another of the same member, or because the hub stops")]
    PullEnded,
    /// There are as many groups as may be.
    #[error(
        "there are {limit} groups, and no more are taken; forget those of services that are no more"
    )]
    TooManyGroups {
        /// How many there may be.
        limit: usize,
    },
    /// There are as many members as may be.
    #[error("there are {limit} members, and no more are taken")]
    TooManyMembers {
        /// How many there may be.
        limit: usize,
    },
    /// As many groups are being taken back as may be.
    #[error("{limit} groups are being taken back, and no more at a time")]
    TooManyRewinds {
        /// How many there may be.
        limit: usize,
    },
    /// As many instances are registered as may be.
    #[error(
        "{limit} instances are registered, and no more are taken; are there some that never leave?"
    )]
    Full {
        /// How many there may be.
        limit: usize,
    },
    /// As many watch as may.
    #[error("{limit} watches are open, and no more are taken")]
    TooManyWatchers {
        /// How many there may be.
        limit: usize,
    },
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let unavailable = |kind, detail: String| {
            Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, detail).retry_after(1)
        };
        let is = |status, kind: &str| Self::new(status, kind, format!("{error}."));
        match &error {
            Error::Events(refused) => of_bus(refused).unwrap_or_else(|| {
                tracing::error!(error = %chain(&error), "a request to the hub's bus failed");
                Self::internal()
            }),
            Error::UnknownMember { .. } => is(StatusCode::NOT_FOUND, "unknown-member"),
            Error::UnknownRewind { .. } => is(StatusCode::NOT_FOUND, "unknown-rewind"),
            Error::GroupInUse { .. } => is(StatusCode::CONFLICT, "group-in-use"),
            Error::HoldsTooMuch { .. } => is(StatusCode::CONFLICT, "holds-too-much"),
            Error::PullEnded => unavailable("pull-ended", format!("{error}.")),
            Error::TooManyGroups { .. } => unavailable("too-many-groups", format!("{error}.")),
            Error::TooManyMembers { .. } => unavailable("too-many-members", format!("{error}.")),
            Error::TooManyRewinds { .. } => unavailable("too-many-rewinds", format!("{error}.")),
            Error::Full { .. } => unavailable("registry-full", format!("{error}.")),
            Error::TooManyWatchers { .. } => unavailable("too-many-watchers", format!("{error}.")),
            Error::Registry(discovery::Error::DuplicateId { service, .. }) => {
                Self::new(StatusCode::CONFLICT, "duplicate-id", format!("{error}."))
                    .with("service", service.as_str())
            }
            Error::Database(data::Error::Overloaded { .. }) => overloaded(),
            Error::Database(_) | Error::Unreadable { .. } | Error::Registry(_) => {
                tracing::error!(error = %chain(&error), "a request to the hub failed");
                Self::internal()
            }
        }
    }
}

/// What is said of what the bus refuses; `None` where it is not the fault of whoever asked.
fn of_bus(error: &events::Error) -> Option<Problem> {
    let is = |status, kind| Problem::new(status, kind, format!("{error}."));
    Some(match error {
        events::Error::Database(data::Error::Overloaded { .. }) => overloaded(),
        events::Error::TooLarge { id, .. } => {
            is(StatusCode::PAYLOAD_TOO_LARGE, "event-too-large").with("id", id.as_str())
        }
        events::Error::Encode { id, .. } => {
            is(StatusCode::BAD_REQUEST, "invalid-event").with("id", id.as_str())
        }
        events::Error::InvalidEnvelope { .. } => is(StatusCode::BAD_REQUEST, "invalid-event"),
        events::Error::InvalidPattern { .. } => is(StatusCode::BAD_REQUEST, "invalid-pattern"),
        events::Error::UnknownGroup { .. } => is(StatusCode::NOT_FOUND, "unknown-group"),
        _ => return None,
    })
}

fn overloaded() -> Problem {
    let detail = "There is more to do than can be done in time.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).retry_after(1)
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
