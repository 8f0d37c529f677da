//! The gateway itself: a service of tower that answers every request.

use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use axum_core::{body::Body, response::Response};
use bytes::Bytes;
use discovery::Clients;
use env::BoxError;
use futures::future::BoxFuture;
use http::Request;
use http_body::Body as HttpBody;
use telemetry::{Metrics, PerformanceMonitor};
use tower::Service;

use crate::{
    Config, Error, Route,
    cache::Store,
    layers::{Boxed, proxy::Target},
    router::Router,
    stack::{self, Front},
};

/// One door to every service. A clone is the same door: it shares connections, cache, limits and figures.
///
/// The server puts [`ClientAddress`](crate::ClientAddress) among the extensions of each request.
#[derive(Clone)]
pub struct Gateway {
    front: Front,
    routes: Arc<[Route]>,
    metrics: Metrics,
    performance: PerformanceMonitor,
}

impl Gateway {
    /// A gateway that finds services, and says to them who it is, as `clients` do.
    ///
    /// # Errors
    /// [`Error::Path`], [`Error::DuplicateRoute`] and [`Error::AmbiguousPath`], which a configuration that
    /// was parsed does not have.
    pub fn new(config: Config, clients: &Clients, metrics: Metrics) -> Result<Self, Error> {
        Self::over(config, metrics, |service| {
            Boxed::new(Target::new(clients.upstream(service)))
        })
    }

    /// A gateway to what `services` makes of each service's name.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn over(
        config: Config,
        metrics: Metrics,
        services: impl Fn(&str) -> Boxed,
    ) -> Result<Self, Error> {
        let router = Router::new(&config.routes)?;
        let store = Store::new(&config.cache);
        let stack = |route: &Route| {
            let service = services(&route.service);
            stack::route(route, &config.limits, config.admission, &store, service)
        };
        let stacks = config.routes.iter().map(stack).collect();
        let performance = PerformanceMonitor::default();
        let front = stack::front(
            &config,
            router,
            stacks,
            metrics.clone(),
            performance.clone(),
        );
        Ok(Self {
            front,
            routes: config.routes.into(),
            metrics,
            performance,
        })
    }

    /// Its routes, in the order of the configuration.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Its counts and durations.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How each route did in the last minutes.
    pub fn performance(&self) -> &PerformanceMonitor {
        &self.performance
    }
}

impl<B> Service<Request<B>> for Gateway
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.front.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.front.call(request.map(Body::new))
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}
