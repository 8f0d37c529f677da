//! What the layers decide that protect a service, its callees and itself: counts of decisions, and limits as they are.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

use super::{Metrics, Named};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    server_address: String,
    call: String,
    decision: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limited {
    server_address: String,
    call: String,
}

pub(super) struct Families {
    decisions: Family<Decided, Counter>,
    limits: Family<Limited, Gauge>,
}

impl Families {
    pub(super) fn register(registry: &mut Named) -> Self {
        Self {
            decisions: registry.own(
                "outrigger_call_decisions",
                "What the layers of calls decided: refused, made again, hedged, left out",
                Family::default(),
            ),
            limits: registry.own(
                "outrigger_concurrency_limit",
                "Calls that may be under way at once, as the adaptive limit has found",
                Family::default(),
            ),
        }
    }
}

impl Metrics {
    /// A layer that protects the service `target`, or one `call` to it that has a policy of its own (otherwise empty), made
    /// a decision, which is a fixed word such as `retried`.
    pub fn decided(&self, target: &str, call: &str, decision: &'static str) {
        let labels = Decided {
            server_address: target.to_owned(),
            call: call.to_owned(),
            decision,
        };
        self.inner.calls.decisions.get_or_create(&labels).inc();
    }

    /// So many calls to `target` may be under way at once now.
    pub fn concurrency_limit(&self, target: &str, call: &str, limit: u32) {
        let labels = Limited {
            server_address: target.to_owned(),
            call: call.to_owned(),
        };
        let gauge = self.inner.calls.limits.get_or_create(&labels);
        gauge.set(limit.into());
    }
}
