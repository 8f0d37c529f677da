//! On to the stack of the route that was found: 404 and 405 otherwise.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use axum_core::{body::Body, response::Response};
use env::Problem;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, StatusCode, header};
use tower::{Service, ServiceExt};

use super::{Boxed, Refusal};
use crate::router::Match;

/// The stacks of all routes, in the order of the configuration.
#[derive(Clone)]
pub struct Dispatch {
    routes: Arc<[Boxed]>,
}

impl Dispatch {
    /// Sends requests to the stack in `routes` that the router's answer means.
    pub fn new(routes: impl IntoIterator<Item = Boxed>) -> Self {
        Self {
            routes: routes.into_iter().collect(),
        }
    }
}

impl Service<Request<Body>> for Dispatch {
    type Response = Response;
    type Error = Refusal;
    type Future = BoxFuture<'static, Result<Response, Refusal>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        // Which stack must be ready is known with the request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let found = request.extensions_mut().remove().unwrap_or(Match::NotFound);
        let stack = match &found {
            Match::Found(index) => self.routes.get(*index).cloned(),
            _ => None,
        };
        Box::pin(async move {
            match (stack, found) {
                (Some(stack), _) => stack.oneshot(request).await,
                (None, Match::MethodNotAllowed { allow }) => Err(refuse_method(&request, &allow)),
                (None, _) => {
                    let detail = format!("There is nothing at {}.", request.uri().path());
                    let status = StatusCode::NOT_FOUND;
                    Err(Problem::new(status, "route-not-found", detail).into())
                }
            }
        })
    }
}

fn refuse_method(request: &Request<Body>, allow: &str) -> Refusal {
    let path = request.uri().path();
    let detail = format!("{path} does not take {}, only {allow}.", request.method());
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let refusal = Refusal::from(Problem::new(status, "method-not-allowed", detail));
    match HeaderValue::try_from(allow) {
        Ok(allow) => refusal.with(header::ALLOW, allow),
        Err(_) => refusal,
    }
}
