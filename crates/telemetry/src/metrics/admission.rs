//! What a service let in, and what it refused for having too much to do.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

use super::{Metrics, Named};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    http_request_method: &'static str,
    http_route: String,
    priority: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limited {
    http_request_method: &'static str,
    http_route: String,
}

pub(super) struct Families {
    refused: Family<Refused, Counter>,
    limits: Family<Limited, Gauge>,
}

impl Families {
    pub(super) fn register(registry: &mut Named) -> Self {
        Self {
            refused: registry.own(
                "outrigger_admission_refused",
                "Requests that were refused because there was too much to do",
                Family::default(),
            ),
            limits: registry.own(
                "outrigger_admission_limit",
                "Requests of a route that may be under way at once",
                Family::default(),
            ),
        }
    }
}

impl Metrics {
    /// A request of this `priority`, a fixed word, was refused. `route` is the template of its path.
    pub fn admission_refused(&self, method: &http::Method, route: &str, priority: &'static str) {
        let labels = Refused {
            http_request_method: crate::http::known(method),
            http_route: route.to_owned(),
            priority,
        };
        self.inner.admission.refused.get_or_create(&labels).inc();
    }

    /// So many requests of `route` may be under way at once now.
    pub fn admission_limit(&self, method: &http::Method, route: &str, limit: u32) {
        let labels = Limited {
            http_request_method: crate::http::known(method),
            http_route: route.to_owned(),
        };
        let gauge = self.inner.admission.limits.get_or_create(&labels);
        gauge.set(limit.into());
    }
}
