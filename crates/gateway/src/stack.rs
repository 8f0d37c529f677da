//! The chain of layers: which there are, in which order, and why.

use std::{convert::Infallible, sync::Arc};

use axum_core::{body::Body, response::Response};
use http::Request;
use resilience::admission;
use telemetry::{Metrics, PerformanceMonitor, http::ServerLayer};
use tower::{ServiceBuilder, util::BoxCloneSyncService};

use crate::{
    Config, Route,
    cache::{CacheLayer, Store},
    config::Limits,
    layers::{
        Boxed, admission::AdmissionLayer, deadline::DeadlineLayer, dispatch::Dispatch,
        head::HeadLayer, overload::OverloadLayer, problems::ProblemsLayer, proxy::ProxyLayer,
        rate_limit::RateLimitLayer, upload::UploadLayer,
    },
    router::Router,
};

/// All of a gateway; it never fails.
pub type Front = BoxCloneSyncService<Request<Body>, Response, Infallible>;

/// What every request passes, down to the stack of its route in `routes`.
pub fn front(
    config: &Config,
    router: Router,
    routes: Vec<Boxed>,
    metrics: Metrics,
    performance: PerformanceMonitor,
) -> Front {
    let templates = config.routes.iter().map(|route| Arc::from(&*route.path));
    let service = ServiceBuilder::new()
        // First, for nothing below may read a header that lies. It refuses nothing: what it finds wrong is
        // removed or made anew, and that no route was found is only noted, so that the refusal is measured.
        .layer(AdmissionLayer::new(router, templates))
        // Span, correlation id and figures, for refusals too. The route is known by now, so no label holds a
        // path that a client chose. What it measures ends with the head of the answer.
        .layer(ServerLayer::new(metrics, performance))
        // Inside the context that the correlation id of a problem comes from.
        .layer(ProblemsLayer)
        // The cheapest refusals. The server has its own, larger, limit for what it parses at all.
        .layer(HeadLayer::new(&config.limits))
        .service(Dispatch::new(routes));
    Front::new(service)
}

/// What the requests of one route pass, down to `service`.
pub fn route(
    route: &Route,
    limits: &Limits,
    admission: admission::Settings,
    store: &Store,
    service: Boxed,
) -> Boxed {
    let stack = ServiceBuilder::new()
        // Before all that costs, answers from the cache included. It counts each gateway by itself.
        .option_layer(route.rate_limit.as_ref().map(RateLimitLayer::new))
        // Before the deadline: a hit needs none. Also where nothing is cached, for a write makes stale what
        // another route has stored of the same path.
        .layer(CacheLayer::new(store.clone(), route.cache))
        // Behind the cache, whose hits cost nothing; before the deadline, which tells it what took too long.
        .layer(OverloadLayer::new(admission, route.priority))
        // The wait for the head of the answer, the upload included. A body that streams on has all the time
        // that it needs, as long as it is not silent.
        .layer(DeadlineLayer::new(route.timeout.unwrap_or(limits.timeout)))
        // Next to the call, which it gives up when the client is at fault.
        .layer(UploadLayer::new(
            route.body.unwrap_or(limits.body),
            limits.idle,
        ))
        // Last: what only the service's client may set is removed, and the answer made fit for the outside.
        .layer(ProxyLayer::new(limits.idle))
        .service(service);
    Boxed::new(stack)
}
