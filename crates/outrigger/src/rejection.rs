//! What an API handler answers when it cannot do what was asked.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use env::{Problem, chain};

/// A problem on its way to the client.
///
/// Every error of the platform turns into one with `?`. What a client may know is in the problem; the cause,
/// with its whole chain, goes to the log.
#[derive(Debug)]
pub struct Rejection(Problem);

impl Rejection {
    /// The problem that the client will see.
    pub fn problem(&self) -> &Problem {
        &self.0
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

impl From<data::Error> for Rejection {
    fn from(error: data::Error) -> Self {
        match error {
            // More wait for the database than it will get through in time: better to say so at once (G9).
            data::Error::Overloaded { .. } => Self(
                Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "overloaded",
                    "There is more to do than can be done in time.",
                )
                .retry_after(1),
            ),
            error => Self::internal(&error),
        }
    }
}

macro_rules! internal {
    ($($error:ty),+) => {$(
        impl From<$error> for Rejection {
            fn from(error: $error) -> Self {
                Self::internal(&error)
            }
        }
    )+};
}

internal!(
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
