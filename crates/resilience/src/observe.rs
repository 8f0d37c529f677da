//! Being told what the layers decide: for metrics, logs and tests.
//!
//! Telemetry is no dependency of this crate; whoever builds the layers wires the two. What lets a call pass is not
//! reported, for that would cost each call something: what refuses, repeats, replaces or changes is.

use std::{fmt, sync::Arc, time::Duration};

use crate::{breaker::State, retry::GaveUp, shed::Priority};

/// What a layer decided.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// A breaker is in another state.
    BreakerChanged {
        /// The state before.
        from: State,
        /// The state now.
        to: State,
    },
    /// A breaker refused a call.
    BreakerRefused,
    /// A call is made again.
    Retried {
        /// The attempts so far.
        attempts: u32,
        /// How long it waits before the next one.
        wait: Duration,
    },
    /// A call failed that might have been made again, and was not.
    RetryRefused(GaveUp),
    /// The time for a call was over.
    DeadlineElapsed,
    /// A bulkhead was full.
    BulkheadRefused,
    /// An adaptive limit was reached.
    LimitRefused,
    /// An adaptive limit is another now.
    LimitChanged {
        /// So many calls at once.
        limit: u32,
    },
    /// A second request was sent beside one that takes long.
    Hedged,
    /// The second request answered first.
    HedgeWon,
    /// A request was refused for the sake of more important ones.
    Shed(Priority),
    /// A rate limit refused a request.
    RateLimited,
    /// A fallback answered in place of what failed.
    FellBack,
    /// An instance is left out, for it fails more than others.
    Ejected {
        /// For so long.
        length: Duration,
    },
}

impl Decision {
    /// A short name for a label: `breaker-opened`, `retried`, `shed-low`. There are few, and none depends on a request.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BreakerChanged { to, .. } => match to {
                State::Closed => "breaker-closed",
                State::Open => "breaker-opened",
                State::HalfOpen => "breaker-half-opened",
            },
            Self::BreakerRefused => "breaker-refused",
            Self::Retried { .. } => "retried",
            Self::RetryRefused(why) => match why {
                GaveUp::Attempts => "retry-refused-attempts",
                GaveUp::Budget => "retry-refused-budget",
                GaveUp::Deadline => "retry-refused-deadline",
                GaveUp::RetryAfter => "retry-refused-wait",
            },
            Self::DeadlineElapsed => "deadline-elapsed",
            Self::BulkheadRefused => "bulkhead-refused",
            Self::LimitRefused => "limit-refused",
            Self::LimitChanged { .. } => "limit-changed",
            Self::Hedged => "hedged",
            Self::HedgeWon => "hedge-won",
            Self::Shed(Priority::Low) => "shed-low",
            Self::Shed(Priority::Normal) => "shed-normal",
            Self::Shed(Priority::Critical) => "shed-critical",
            Self::RateLimited => "rate-limited",
            Self::FellBack => "fell-back",
            Self::Ejected { .. } => "ejected",
        }
    }
}

/// Is told of decisions. It must be quick, and must not use the layer that tells it.
pub trait Observer: Send + Sync + 'static {
    /// The layer that protects `name` has decided.
    fn decided(&self, name: &str, decision: &Decision);

    /// What was protected by `name` is there no more: what was kept for it can be forgotten.
    fn gone(&self, name: &str) {
        let _ = name;
    }
}

impl<F: Fn(&str, &Decision) + Send + Sync + 'static> Observer for F {
    fn decided(&self, name: &str, decision: &Decision) {
        self(name, decision);
    }
}

/// What a layer has to report by: the name of what it protects, and who is told. Cheap to clone.
#[derive(Clone)]
pub struct Reporter {
    name: Arc<str>,
    observer: Option<Arc<dyn Observer>>,
}

impl Reporter {
    /// Tells nobody.
    pub fn silent(name: &str) -> Self {
        Self {
            name: name.into(),
            observer: None,
        }
    }

    /// Tells `observer` of what protects `name`.
    pub fn new(name: &str, observer: Arc<dyn Observer>) -> Self {
        Self {
            name: name.into(),
            observer: Some(observer),
        }
    }

    /// What is protected.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells that what was protected is there no more.
    pub fn gone(&self) {
        if let Some(observer) = &self.observer {
            observer.gone(&self.name);
        }
    }

    /// Tells of `decision`.
    pub fn report(&self, decision: Decision) {
        if let Some(observer) = &self.observer {
            observer.decided(&self.name, &decision);
        }
    }
}

impl Default for Reporter {
    fn default() -> Self {
        Self::silent("")
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reporter").field(&self.name).finish()
    }
}
