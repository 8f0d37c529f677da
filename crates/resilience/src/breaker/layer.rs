//! The layer that puts a breaker before a service.

use tower::Layer;

use super::{Breaker, BreakerService};

/// Puts a [`Breaker`] before a service. All services of one layer, and its clones, share the breaker.
#[derive(Clone)]
pub struct BreakerLayer<C> {
    breaker: Breaker,
    is_failure: C,
}

impl<C> BreakerLayer<C> {
    /// Counts as failures what `is_failure` says of a call's `&Result<Response, Error>`: every error as a rule, and
    /// answers such as 500.
    pub fn new(breaker: Breaker, is_failure: C) -> Self {
        Self {
            breaker,
            is_failure,
        }
    }
}

impl<S, C: Clone> Layer<S> for BreakerLayer<C> {
    type Service = BreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        BreakerService::new(inner, self.breaker.clone(), self.is_failure.clone())
    }
}
