//! The way to a service and back.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use axum_core::{body::Body, response::Response};
use discovery::Upstream;
use env::Problem;
use futures::future::BoxFuture;
use http::{Request, Version};
use tower::{Layer, Service};

use super::Refusal;
use crate::{body, headers};

/// Takes from requests and answers what is not meant for the other side.
#[derive(Debug, Clone)]
pub struct ProxyLayer {
    idle: Duration,
}

impl ProxyLayer {
    /// Breaks off an answer that is silent for longer than `idle`.
    pub fn new(idle: Duration) -> Self {
        Self { idle }
    }
}

impl<S> Layer<S> for ProxyLayer {
    type Service = Proxy<S>;

    fn layer(&self, inner: S) -> Proxy<S> {
        Proxy {
            inner,
            idle: self.idle,
        }
    }
}

/// See [`ProxyLayer`].
#[derive(Debug, Clone)]
pub struct Proxy<S> {
    inner: S,
    idle: Duration,
}

impl<S> Service<Request<Body>> for Proxy<S>
where
    S: Service<Request<Body>, Response = Response, Error = Refusal>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Refusal;
    type Future = BoxFuture<'static, Result<Response, Refusal>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        headers::outbound(request.headers_mut());
        // Whichever version the client speaks; each connection has its own.
        *request.version_mut() = Version::HTTP_11;
        let idle = self.idle;
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            headers::inbound(response.headers_mut());
            Ok(response.map(|answered| body::never_silent(answered, idle)))
        })
    }
}

/// All instances of a service, as a service of tower that refuses where none answers.
#[derive(Clone)]
pub struct Target(Upstream);

impl Target {
    /// Sends requests to one of the instances of `upstream`.
    pub fn new(upstream: Upstream) -> Self {
        Self(upstream)
    }
}

impl Service<Request<Body>> for Target {
    type Response = Response;
    type Error = Refusal;
    type Future = BoxFuture<'static, Result<Response, Refusal>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        // Which instance takes a request, and whether one does, is found out with the request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let upstream = self.0.clone();
        Box::pin(async move {
            upstream.send(request).await.map_err(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "no answer");
                Problem::from(error).into()
            })
        })
    }
}
