//! The layer that sends second requests.

use std::sync::{Arc, Mutex};

use tower::Layer;

use super::{Delay, HedgeService, Latency};
use crate::{observe::Reporter, retry::Budget};

/// Sends a second request where the first takes long. All services of one layer, and its clones, share what was
/// measured and the budget.
#[derive(Clone)]
pub struct HedgeLayer<C> {
    pub(super) delay: Delay,
    pub(super) copy: C,
    pub(super) budget: Budget,
    /// Whether calls are counted here.
    pub(super) counts: bool,
    pub(super) latency: Arc<Mutex<Latency>>,
    pub(super) reporter: Reporter,
}

impl<C> HedgeLayer<C> {
    /// Sends a second request after `delay`; `copy` makes it, as an `Option<Request>` of a `&Request`: `None` of one
    /// that must not be made twice.
    pub fn new(delay: Delay, copy: C) -> Self {
        Self {
            delay,
            copy,
            budget: Budget::default(),
            counts: true,
            latency: Arc::default(),
            reporter: Reporter::default(),
        }
    }

    /// Counts its calls in `budget`, and spends from it. Default: one of its own.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self.counts = true;
        self
    }

    /// Spends from `budget`, in which a layer of retries above this one counts the calls: an attempt is not another call.
    #[must_use]
    pub fn within(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self.counts = false;
        self
    }

    /// Tells of decisions by `reporter`.
    #[must_use]
    pub fn reporter(mut self, reporter: Reporter) -> Self {
        self.reporter = reporter;
        self
    }
}

impl<S, C: Clone> Layer<S> for HedgeLayer<C> {
    type Service = HedgeService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        HedgeService::new(inner, self.clone())
    }
}
