//! The layer that puts a rate limit before a service.

use std::sync::Arc;

use tower::Layer;

use super::{RateLimitService, RateLimiter};
use crate::observe::Reporter;

/// Counts requests by a key that each has. All services of one layer, and its clones, share the counts.
pub struct RateLimitLayer<K, F> {
    pub(super) limiter: Arc<RateLimiter<K>>,
    pub(super) key: F,
    pub(super) reporter: Reporter,
}

impl<K, F> RateLimitLayer<K, F> {
    /// Allows each key what `limiter` says; `key` tells it from a `&Request`.
    pub fn new(limiter: Arc<RateLimiter<K>>, key: F) -> Self {
        Self {
            limiter,
            key,
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

// Derived, it would ask that keys can be cloned.
impl<K, F: Clone> Clone for RateLimitLayer<K, F> {
    fn clone(&self) -> Self {
        Self {
            limiter: self.limiter.clone(),
            key: self.key.clone(),
            reporter: self.reporter.clone(),
        }
    }
}

impl<S, K, F: Clone> Layer<S> for RateLimitLayer<K, F> {
    type Service = RateLimitService<S, K, F>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimitService::new(inner, self.clone())
    }
}
