//! What an API takes on: what somebody still waits for, and no more than it answers in good time (G9).
//!
//! A request whose deadline has passed is not begun, and one whose deadline passes is given up, unless it has an
//! `Idempotency-Key`: then it goes on behind the answer. Before each route of each method stands a gate of its own.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use env::{Problem, RequestContext, request::OVERLOADED};
use futures::future::{BoxFuture, FutureExt, ready};
use resilience::{
    adaptive::Ended,
    admission::{Gate, Settings},
    shed::Overloaded,
};
use telemetry::Metrics;
use tower::{Layer, Service};

/// Puts a gate of its own before every service that it is laid over; where gates are off, it keeps deadlines only.
#[derive(Clone)]
pub(crate) struct AdmissionLayer {
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Admission<S> {
        Admission {
            inner,
            gate: Gate::of(self.settings),
            metrics: self.metrics.clone(),
            told: Arc::default(),
        }
    }
}

/// See [`AdmissionLayer`].
#[derive(Clone)]
pub(crate) struct Admission<S> {
    inner: S,
    gate: Option<Gate>,
    metrics: Metrics,
    /// The limit that the metrics were told last.
    told: Arc<AtomicU32>,
}

impl<S> Service<Request> for Admission<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let context = RequestContext::current();
        let remaining = context.remaining();
        if remaining.is_some_and(|remaining| remaining.is_zero()) {
            return ready(Ok(late())).boxed();
        }
        let route = request.extensions().get::<MatchedPath>().cloned();
        let method = request.method().clone();
        let admitted = self.gate.as_ref().map(|gate| gate.enter(context.priority));
        let admitted = match admitted.transpose() {
            Ok(admitted) => admitted,
            Err(overloaded) => {
                if let Some(route) = route {
                    let priority = overloaded.priority.name();
                    let route = route.as_str();
                    self.metrics.admission_refused(&method, route, priority);
                }
                return ready(Ok(refused(overloaded))).boxed();
            }
        };
        let answer = within(remaining, self.inner.call(request));
        let (gate, told, metrics) = (self.gate.clone(), self.told.clone(), self.metrics.clone());
        Box::pin(async move {
            let answer = answer.await;
            if let (Some(admitted), Some(gate)) = (admitted, gate) {
                admitted.ended(ended(&answer));
                let limit = gate.limit();
                if let Some(route) = route
                    && told.swap(limit, Ordering::Relaxed) != limit
                {
                    metrics.admission_limit(&method, route.as_str(), limit);
                }
            }
            Ok(answer)
        })
    }
}

/// The answer, if it comes in time.
async fn within(
    remaining: Option<Duration>,
    answer: impl Future<Output = Result<Response, Infallible>>,
) -> Response {
    let Ok(answer) = match remaining {
        Some(remaining) => env::timeout(remaining, answer)
            .await
            .unwrap_or_else(|_| Ok(late())),
        None => answer.await,
    };
    answer
}

/// What an answer says of the load. 503 of a handler says that something else is not there.
fn ended(answer: &Response) -> Ended {
    match answer.status() {
        StatusCode::GATEWAY_TIMEOUT => Ended::Overloaded,
        status if status.is_server_error() => Ended::Otherwise,
        _ => Ended::Answered,
    }
}

fn late() -> Response {
    let detail = "The time that the caller gave it was over.";
    let status = StatusCode::GATEWAY_TIMEOUT;
    Problem::new(status, "deadline-exceeded", detail).into_response()
}

fn refused(overloaded: Overloaded) -> Response {
    let detail = "There is too much to do at the moment.";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let problem = Problem::new(status, "overloaded", detail);
    let seconds = overloaded.retry_after.as_secs().max(1);
    let mut refusal = problem.retry_after(seconds).into_response();
    let headers = refusal.headers_mut();
    headers.insert(OVERLOADED, HeaderValue::from_static("true"));
    refusal
}
