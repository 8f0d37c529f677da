//! A gateway over services that are plain functions, and what its clients see.

use std::{future::Future, sync::Arc};

use axum_core::{body::Body, response::Response};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use outrigger_gateway::{
    Config, Gateway,
    layers::{Boxed, Refusal},
};
use serde_json::Value;
use telemetry::Metrics;
use tower::{ServiceExt, service_fn};

/// A gateway of `config` to services that all answer as `service`.
pub(crate) fn gateway<F, A>(config: &str, service: F) -> Gateway
where
    F: Fn(Request<Body>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Response, Refusal>> + Send + 'static,
{
    let config: Config = config.parse().expect("valid");
    let boxed = Boxed::new(service_fn(service));
    Gateway::over(config, Metrics::new("gateway"), |_| boxed.clone()).expect("valid")
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("text"))
    }

    /// The body as problem details, all of whose members must be there.
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem: Value = serde_json::from_str(&self.body).expect("a JSON document");
        assert_eq!(problem["status"], self.status.as_u16());
        assert!(
            problem["title"]
                .as_str()
                .is_some_and(|title| !title.is_empty())
        );
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
        assert!(problem["instance"].is_string(), "{problem}");
        assert_eq!(
            problem["correlationId"].as_str(),
            self.header("x-correlation-id")
        );
        problem
    }

    /// The last part of the problem's type.
    pub(crate) fn kind(&self) -> String {
        let problem = self.problem();
        let uri = problem["type"].as_str().expect("a type");
        let kind = uri.strip_prefix("https://outrigger.dev/problems/");
        kind.unwrap_or_else(|| panic!("{uri}")).to_owned()
    }
}

pub(crate) async fn send(gateway: &Gateway, request: Request<Body>) -> Response {
    gateway
        .clone()
        .oneshot(request)
        .await
        .expect("a gateway never fails")
}

pub(crate) async fn see(gateway: &Gateway, request: http::request::Builder) -> Seen {
    see_with(gateway, request, Body::empty()).await
}

pub(crate) async fn see_with(
    gateway: &Gateway,
    request: http::request::Builder,
    body: impl Into<Body>,
) -> Seen {
    let request = request.body(body.into()).expect("a request");
    let (parts, body) = send(gateway, request).await.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Seen {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).expect("text"),
    }
}

/// What services were asked, in order.
#[derive(Clone, Default)]
pub(crate) struct Asked(Arc<std::sync::Mutex<Vec<http::request::Parts>>>);

impl Asked {
    pub(crate) fn push(&self, parts: http::request::Parts) {
        self.0.lock().expect("unpoisoned").push(parts);
    }

    pub(crate) fn take(&self) -> Vec<http::request::Parts> {
        std::mem::take(&mut self.0.lock().expect("unpoisoned"))
    }
}
