//! The layer that makes calls again.

use tower::Layer;

use super::{Budget, RetryService, Settings};
use crate::observe::Reporter;

/// Makes calls again that failed. All services of one layer, and its clones, share the budget.
#[derive(Clone)]
pub struct RetryLayer<V, C> {
    pub(super) settings: Settings,
    pub(super) budget: Budget,
    pub(super) verdict: V,
    pub(super) copy: C,
    pub(super) reporter: Reporter,
}

impl<V, C> RetryLayer<V, C> {
    /// Makes a call again when `verdict` says so of its `&Result<Response, Error>`, and `copy` makes another
    /// `Option<Request>` of a `&Request`: `None` of one that must not be made twice.
    pub fn new(settings: Settings, verdict: V, copy: C) -> Self {
        Self {
            settings,
            budget: Budget::default(),
            verdict,
            copy,
            reporter: Reporter::default(),
        }
    }

    /// Spends from `budget`, which others may share. Default: one of its own.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Tells of decisions by `reporter`.
    #[must_use]
    pub fn reporter(mut self, reporter: Reporter) -> Self {
        self.reporter = reporter;
        self
    }
}

impl<S, V: Clone, C: Clone> Layer<S> for RetryLayer<V, C> {
    type Service = RetryService<S, V, C>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryService::new(inner, self.clone())
    }
}
