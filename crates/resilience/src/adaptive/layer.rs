//! The layer that puts an adaptive limit before a service.

use tower::Layer;

use super::{AdaptiveService, Limiter};

/// Puts a [`Limiter`] before a service. All services of one layer, and its clones, share it.
#[derive(Clone)]
pub struct AdaptiveLayer<C> {
    limiter: Limiter,
    ended: C,
}

impl<C> AdaptiveLayer<C> {
    /// Lets as many calls pass as `limiter` says; `ended` tells it what a call's `&Result<Response, Error>` says of the
    /// load, as an [`Ended`](super::Ended).
    pub fn new(limiter: Limiter, ended: C) -> Self {
        Self { limiter, ended }
    }
}

impl<S, C: Clone> Layer<S> for AdaptiveLayer<C> {
    type Service = AdaptiveService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        AdaptiveService::new(inner, self.limiter.clone(), self.ended.clone())
    }
}
