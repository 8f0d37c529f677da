//! The layer that gives calls a deadline.

use std::time::Duration;

use tower::Layer;

use super::DeadlineService;
use crate::observe::Reporter;

/// Gives up calls whose time is over.
#[derive(Debug, Clone, Default)]
pub struct DeadlineLayer {
    limit: Option<Duration>,
    reporter: Reporter,
}

impl DeadlineLayer {
    /// Keeps the deadline of the caller; without one, a call may take any time.
    pub fn of_caller() -> Self {
        Self::default()
    }

    /// Gives each call at most `limit`; an earlier deadline of the caller stays.
    pub fn within(limit: Duration) -> Self {
        Self {
            limit: Some(limit),
            ..Self::default()
        }
    }

    /// Tells of decisions by `reporter`.
    #[must_use]
    pub fn reporter(mut self, reporter: Reporter) -> Self {
        self.reporter = reporter;
        self
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService::new(inner, self.limit, self.reporter.clone())
    }
}
