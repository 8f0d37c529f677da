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
        match &error {
            Error::Full { .. } => unavailable("registry-full", format!("{error}.")),
            Error::TooManyWatchers { .. } => unavailable("too-many-watchers", format!("{error}.")),
            Error::Registry(discovery::Error::DuplicateId { service, .. }) => {
                Self::new(StatusCode::CONFLICT, "duplicate-id", format!("{error}."))
                    .with("service", service.as_str())
            }
            Error::Database(data::Error::Overloaded { .. }) => unavailable(
                "overloaded",
                "There is more to do than can be done in time.".to_owned(),
            ),
            Error::Database(_) | Error::Unreadable { .. } | Error::Registry(_) => {
                tracing::error!(error = %chain(&error), "a request to the hub failed");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
