//! The layer that sheds load.

use tower::Layer;

use super::{ShedService, Shedder};

/// Puts a [`Shedder`] before a service. All services of one layer, and its clones, share it.
#[derive(Clone)]
pub struct ShedLayer<P> {
    shedder: Shedder,
    priority: P,
}

impl<P> ShedLayer<P> {
    /// Takes what `shedder` has room for; `priority` tells how much a `&Request` matters.
    pub fn new(shedder: Shedder, priority: P) -> Self {
        Self { shedder, priority }
    }
}

impl<S, P: Clone> Layer<S> for ShedLayer<P> {
    type Service = ShedService<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        ShedService::new(inner, self.shedder.clone(), self.priority.clone())
    }
}
