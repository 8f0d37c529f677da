//! What an API handler answers when it cannot do what was asked.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use env::{Problem, causes, chain};

/// More is asked of the database than it will get through in time: better to say so at once (G9).
const OVERLOADED: (&str, &str) = (
    "overloaded",
    "There is more to do than can be done in time.",
);

/// The database is away, or has no room.
const UNAVAILABLE: (&str, &str) = (
    "service-unavailable",
    "A part of the system is not available at the moment.",
);

/// A problem on its way to the client.
///
/// Every error of the platform turns into one with `?`. What a client may know is in the problem; the cause,
/// with its whole chain, goes to the log. Where the database is away or has too much to do, the client is asked to come
/// again (503 with `Retry-After`); any other failure is 500.
#[derive(Debug)]
pub struct Rejection(Problem);

impl Rejection {
    /// The problem that the client will see.
    pub fn problem(&self) -> &Problem {
        &self.0
    }

    /// Of what went wrong within the service: 503 where its database says that the same may succeed later, 500 otherwise.
    fn within(error: &(dyn std::error::Error + 'static)) -> Self {
        let database = causes(error).find_map(|cause| cause.downcast_ref::<data::Error>());
        let (kind, detail) = match database {
            Some(data::Error::Overloaded { .. }) => OVERLOADED,
            Some(met) if met.is_conflict() => OVERLOADED,
            Some(away) if away.is_retryable() => {
                tracing::warn!(error = %chain(error), "the database cannot work now");
                UNAVAILABLE
            }
            _ => return Self::internal(error),
        };
        Self(Problem::new(StatusCode::SERVICE_UNAVAILABLE, kind, detail).retry_after(1))
    }

    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %chain(error), "request failed");
        Self(Problem::internal())
    }
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<discovery::Error> for Rejection {
    fn from(error: discovery::Error) -> Self {
        tracing::warn!(error = %chain(&error), "call failed");
        Self(error.into())
    }
}

macro_rules! within {
    ($($error:ty),+) => {$(
        impl From<$error> for Rejection {
            fn from(error: $error) -> Self {
                Self::within(&error)
            }
        }
    )+};
}

within!(
    data::Error,
    events::Error,
    eventsourcing::Error,
    saga::Error,
    crate::Error
);

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}
