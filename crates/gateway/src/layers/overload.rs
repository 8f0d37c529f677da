//! No more of a route at once than is answered in good time, and of those the requests that matter: 503 (G9).
//!
//! A service that refuses, or does not answer in time, has too much to do: then less is sent to it, and what is refused here
//! does not reach it at all.

use std::{
    mem,
    task::{Context, Poll},
};

use axum_core::response::Response;
use env::{Problem, RequestContext, request::Priority};
use futures::future::{BoxFuture, FutureExt, ready};
use http::{Request, StatusCode};
use resilience::{
    adaptive::Ended,
    admission::{Gate, Settings},
};
use tower::{Layer, Service};

use super::Refusal;

/// Puts a gate before what it is laid over.
#[derive(Debug, Clone)]
pub struct OverloadLayer {
    settings: Settings,
    priority: Priority,
}

impl OverloadLayer {
    /// A gate by `settings` for requests that matter so much; services are told of that.
    pub fn new(settings: Settings, priority: Priority) -> Self {
        Self { settings, priority }
    }
}

impl<S> Layer<S> for OverloadLayer {
    type Service = Overload<S>;

    fn layer(&self, inner: S) -> Overload<S> {
        Overload {
            inner,
            gate: Gate::of(self.settings),
            priority: self.priority,
        }
    }
}

/// See [`OverloadLayer`].
#[derive(Clone)]
pub struct Overload<S> {
    inner: S,
    gate: Option<Gate>,
    priority: Priority,
}

impl<S, B> Service<Request<B>> for Overload<S>
where
    S: Service<Request<B>, Response = Response, Error = Refusal> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response;
    type Error = Refusal;
    type Future = BoxFuture<'static, Result<Response, Refusal>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let admitted = self.gate.as_ref().map(|gate| gate.enter(self.priority));
        let admitted = match admitted.transpose() {
            Ok(admitted) => admitted,
            Err(overloaded) => {
                let detail = "There is too much to do at the moment.";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let problem = Problem::new(status, "overloaded", detail);
                let seconds = overloaded.retry_after.as_secs().max(1);
                return ready(Err(problem.retry_after(seconds).into())).boxed();
            }
        };
        let context = RequestContext::current().with_priority(self.priority);
        // The clone is not the service that was found ready; that one is called, within the scope.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        Box::pin(context.scope(async move {
            let answer = inner.call(request).await;
            if let Some(admitted) = admitted {
                admitted.ended(ended(&answer));
            }
            answer
        }))
    }
}

fn ended(answer: &Result<Response, Refusal>) -> Ended {
    let refusal = |refusal: &Refusal| refusal.problem().status_code();
    match answer.as_ref().map(Response::status).map_err(refusal) {
        Ok(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
        | Ok(StatusCode::GATEWAY_TIMEOUT)
        | Err(StatusCode::GATEWAY_TIMEOUT) => Ended::Overloaded,
        Ok(status) if status.is_server_error() => Ended::Otherwise,
        Ok(_) => Ended::Answered,
        // Nobody was there, or the client was at fault.
        Err(_) => Ended::Otherwise,
    }
}
