//! Requests served and requests sent.

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
};

use super::{DurationFamily, Metrics, Named, durations, observe};
use crate::http::known;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Served {
    http_request_method: &'static str,
    http_route: String,
    http_response_status_code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sent {
    http_request_method: &'static str,
    server_address: String,
    http_response_status_code: String,
    error_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Active {
    http_request_method: &'static str,
}

pub(super) struct Families {
    served: DurationFamily<Served>,
    active: Family<Active, Gauge>,
    sent: DurationFamily<Sent>,
}

impl Families {
    pub(super) fn register(registry: &mut Named) -> Self {
        Self {
            served: registry.own(
                "http_server_request_duration_seconds",
                "Duration of requests served, up to the head of the response",
                durations(),
            ),
            active: registry.own(
                "http_server_active_requests",
                "Requests that are being served",
                Family::default(),
            ),
            sent: registry.own(
                "http_client_request_duration_seconds",
                "Duration of requests sent, up to the head of the response",
                durations(),
            ),
        }
    }
}

impl Metrics {
    /// A request was answered. `route` is the template of the path, never the path itself.
    pub fn http_server(&self, method: &Method, route: &str, status: u16, elapsed: Duration) {
        let labels = Served {
            http_request_method: known(method),
            http_route: route.to_owned(),
            http_response_status_code: status,
        };
        observe(&self.inner.http.served, &labels, elapsed);
    }

    /// A request to the service `target` was answered with a status, or failed with a kind of error that
    /// is a fixed word, such as `timeout`.
    pub fn http_client(
        &self,
        method: &Method,
        target: &str,
        result: Result<StatusCode, &'static str>,
        elapsed: Duration,
    ) {
        let labels = Sent {
            http_request_method: known(method),
            server_address: target.to_owned(),
            http_response_status_code: result
                .map_or_else(|_| String::new(), |s| s.as_u16().to_string()),
            error_type: result.err().unwrap_or_default(),
        };
        observe(&self.inner.http.sent, &labels, elapsed);
    }

    pub(crate) fn active_request(&self, method: &Method) -> ActiveRequest {
        let labels = Active {
            http_request_method: known(method),
        };
        let gauge = self.inner.http.active.get_or_create(&labels).clone();
        gauge.inc();
        ActiveRequest(gauge)
    }
}

/// Counts as one active request until it is dropped.
pub(crate) struct ActiveRequest(Gauge);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.dec();
    }
}
