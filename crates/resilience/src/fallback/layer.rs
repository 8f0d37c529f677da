//! The layer that answers in place of a service that failed.

use tower::Layer;

use super::FallbackService;
use crate::observe::Reporter;

/// Answers in place of a service that failed.
#[derive(Clone)]
pub struct FallbackLayer<C, A> {
    pub(super) is_failure: C,
    pub(super) answer: A,
    pub(super) reporter: Reporter,
}

impl<C, A> FallbackLayer<C, A> {
    /// Where `is_failure` says so of a call's `&Result<Response, Error>`, the future that `answer` makes of it is
    /// waited for, and its `Some(Response)` is the answer; with `None`, what the service said stays.
    pub fn new(is_failure: C, answer: A) -> Self {
        Self {
            is_failure,
            answer,
            reporter: Reporter::default(),
        }
    }

    /// Tells of decisions by `reporter`.
    #[must_use]
    pub fn reporter(mut self, reporter: Reporter) -> Self {
        self.reporter = reporter;
        self
    }
}

impl<S, C: Clone, A: Clone> Layer<S> for FallbackLayer<C, A> {
    type Service = FallbackService<S, C, A>;

    fn layer(&self, inner: S) -> Self::Service {
        FallbackService::new(inner, self.clone())
    }
}
