//! What the layers of calls decide, in the figures and the log of who makes the calls.

use discovery::Protected;
use resilience::{
    breaker::State,
    observe::{Decision, Observer},
};
use telemetry::{Metrics, metrics::Breaker};

/// Tells the metrics of a service, or of the gateway, of decisions.
pub(crate) struct Decisions(pub(crate) Metrics);

impl Observer for Decisions {
    fn decided(&self, name: &str, decision: &Decision) {
        let Protected {
            service,
            call,
            instance,
        } = Protected::of(name);
        let call = call.unwrap_or_default();
        tracing::debug!(of = name, ?decision, "decided about a call");
        self.0.decided(service, call, decision.name());
        match decision {
            Decision::BreakerChanged { to, .. } => {
                let state = match to {
                    State::Closed => Breaker::Closed,
                    State::HalfOpen => Breaker::HalfOpen,
                    State::Open => Breaker::Open,
                };
                self.0.breaker(service, instance.unwrap_or_default(), state);
            }
            Decision::LimitChanged { limit } => self.0.concurrency_limit(service, call, *limit),
            _ => {}
        }
    }

    fn gone(&self, name: &str) {
        let Protected {
            service, instance, ..
        } = Protected::of(name);
        self.0.forget_breaker(service, instance.unwrap_or_default());
    }
}
