//! The layer that puts a bulkhead before a service.

use tower::Layer;

use super::{Bulkhead, BulkheadService};

/// Puts a [`Bulkhead`] before a service. All services of one layer, and its clones, share its places.
#[derive(Clone)]
pub struct BulkheadLayer {
    bulkhead: Bulkhead,
}

impl BulkheadLayer {
    /// Lets as many calls in as `bulkhead` holds.
    pub fn new(bulkhead: Bulkhead) -> Self {
        Self { bulkhead }
    }
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = BulkheadService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BulkheadService::new(inner, self.bulkhead.clone())
    }
}
