//! The layers of a gateway, one file each. [`stack`](crate::stack) says in which order they stand, and why.
//!
//! Inside, a request that is not fulfilled is an `Err(Refusal)`; [`problems`] makes it an answer.

pub mod admission;
pub mod deadline;
pub mod dispatch;
pub mod head;
pub mod overload;
pub mod problems;
pub mod proxy;
pub mod rate_limit;
pub mod upload;

use axum_core::{body::Body, response::Response};
use env::Problem;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tower::util::BoxCloneSyncService;

/// A stack of layers whose types nobody needs to know.
pub type Boxed = BoxCloneSyncService<Request<Body>, Response, Refusal>;

/// Why a request is not fulfilled, and what the answer says besides.
#[derive(Debug, Clone)]
pub struct Refusal(Box<(Problem, HeaderMap)>);

impl Refusal {
    /// Adds a header to the answer.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.1.insert(name, value);
        self
    }

    /// The problem.
    pub fn problem(&self) -> &Problem {
        &self.0.0
    }

    /// The problem, and the headers of the answer besides its own.
    pub fn into_parts(self) -> (Problem, HeaderMap) {
        *self.0
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(Box::new((problem, HeaderMap::new())))
    }
}
