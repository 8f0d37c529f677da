//! The layer in front of every HTTP service.
//!
//! For each request it opens a server span under the caller's, enters the
//! [`RequestContext`] that the headers tell, and measures. What is guaranteed: everything that runs
//! below belongs to the caller's trace and correlation id, and a request is measured once, however it
//! ends, also when its client goes away.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use env::{Instant, RequestContext, request::CORRELATION_ID};
use futures::future::BoxFuture;
use http::{Extensions, HeaderValue, Method, Request, Response, StatusCode};
use opentelemetry::trace::Status;
use tower::{Layer, Service};
use tracing::{Instrument, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{Metrics, PerformanceMonitor, metrics::ActiveRequest, propagation};

/// The template of the path that a request matched, such as `/orders/{id}`.
///
/// It may be among the extensions of the request, or, from a service that routes by itself, of the
/// response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route(pub Arc<str>);

/// The route of a request that matched none.
pub const UNMATCHED: &str = "(unmatched)";
/// The status under which a request is measured whose client went away before the answer.
const CLIENT_GONE: u16 = 499;

/// Traces, scopes and measures every request to the service below.
#[derive(Clone, Debug)]
pub struct ServerLayer {
    metrics: Metrics,
    performance: PerformanceMonitor,
    route: fn(&Extensions) -> Option<&str>,
}

impl ServerLayer {
    /// Measures into `metrics`, whose service is also the spans', and `performance`.
    pub fn new(metrics: Metrics, performance: PerformanceMonitor) -> Self {
        Self {
            metrics,
            performance,
            route: |extensions| extensions.get::<Route>().map(|route| &*route.0),
        }
    }

    /// Finds the template among a request's extensions with `route`, for a router that leaves it there
    /// in a type of its own.
    #[must_use]
    pub fn route(mut self, route: fn(&Extensions) -> Option<&str>) -> Self {
        self.route = route;
        self
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = Server<S>;

    fn layer(&self, inner: S) -> Server<S> {
        Server {
            inner,
            layer: self.clone(),
        }
    }
}

/// See [`ServerLayer`].
#[derive(Clone, Debug)]
pub struct Server<S> {
    inner: S,
    layer: ServerLayer,
}

impl<S, B, R> Service<Request<B>> for Server<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone is not the service that was found ready; that one is called.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let context = RequestContext::from_headers(request.headers());
        let route = (self.layer.route)(request.extensions()).map(str::to_owned);
        let span = self.layer.span(&request, route.as_deref(), &context);
        let mut measure = Measure::new(&self.layer, request.method().clone(), route);
        let correlation_id = HeaderValue::try_from(&context.correlation_id).ok();
        // The call itself is within the scope too: a layer may answer before it returns a future.
        let answer = async move {
            let mut response = match inner.call(request).await {
                Ok(response) => response,
                Err(error) => {
                    measure.end(StatusCode::INTERNAL_SERVER_ERROR);
                    return Err(error);
                }
            };
            if let Some(Route(route)) = response.extensions().get() {
                measure.routed(route);
            }
            measure.end(response.status());
            if let Some(id) = correlation_id {
                response.headers_mut().entry(CORRELATION_ID).or_insert(id);
            }
            Ok(response)
        };
        Box::pin(context.scope(answer).instrument(span))
    }
}

impl ServerLayer {
    fn span<B>(&self, request: &Request<B>, route: Option<&str>, context: &RequestContext) -> Span {
        let span = tracing::info_span!(
            "request",
            otel.kind = "server",
            otel.name = name(request.method(), route),
            service = &**self.metrics.service(),
            correlation_id = context.correlation_id,
            http.request.method = request.method().as_str(),
            http.route = field::Empty,
            url.path = request.uri().path(),
        );
        if let Some(route) = route {
            span.record("http.route", route);
        }
        propagation::parent_from_headers(&span, request.headers());
        span
    }
}

/// The name of a request's span and of its operation: `GET /orders/{id}`.
fn name(method: &Method, route: Option<&str>) -> String {
    format!("{} {}", known(method), route.unwrap_or(UNMATCHED))
}

/// A client may send any word as its method; a name or a label knows those of HTTP.
pub(crate) fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

/// Writes a response's status on the span of its request, whichever side it is: ok, error, or error
/// `timeout`. A status from 400 to 499 leaves it open, for the client's mistake is no fault of the server.
pub fn record_status(span: &Span, status: StatusCode) {
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    match status {
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => record_error(span, "timeout"),
        status if status.is_server_error() => record_error(span, "error"),
        status if status.is_client_error() => {}
        _ => span.set_status(Status::Ok),
    }
}

/// Marks `span` as failed with a kind of error that is a fixed word, such as `timeout`.
pub fn record_error(span: &Span, kind: &'static str) {
    span.set_attribute("error.type", kind);
    span.set_status(Status::error(kind));
}

/// Measures one request, at the latest when it is dropped.
struct Measure {
    metrics: Metrics,
    performance: PerformanceMonitor,
    method: Method,
    route: Option<String>,
    start: Instant,
    ended: bool,
    _active: ActiveRequest,
}

impl Measure {
    fn new(layer: &ServerLayer, method: Method, route: Option<String>) -> Self {
        Self {
            metrics: layer.metrics.clone(),
            performance: layer.performance.clone(),
            start: env::instant(),
            ended: false,
            _active: layer.metrics.active_request(&method),
            method,
            route,
        }
    }

    fn routed(&mut self, route: &str) {
        propagation::rename(name(&self.method, Some(route)));
        Span::current().record("http.route", route);
        self.route = Some(route.to_owned());
    }

    fn end(&mut self, status: StatusCode) {
        record_status(&Span::current(), status);
        self.measure(status.as_u16(), !status.is_server_error());
    }

    fn measure(&mut self, status: u16, success: bool) {
        self.ended = true;
        let elapsed = env::instant().saturating_duration_since(self.start);
        let route = self.route.as_deref();
        self.metrics
            .http_server(&self.method, route.unwrap_or(UNMATCHED), status, elapsed);
        let operation = name(&self.method, route);
        self.performance.record(&operation, elapsed, success);
        tracing::debug!(status, ?elapsed, "{operation}");
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        if !self.ended {
            record_error(&Span::current(), "client-gone");
            self.measure(CLIENT_GONE, true);
        }
    }
}
