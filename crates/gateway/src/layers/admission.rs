//! The first thing that happens to a request: its headers are made fit for the inside, and its route found.

use std::{
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use tower::{Layer, Service};

use crate::{
    headers,
    router::{Match, Router},
};

/// The address of the client, which the server puts among the request's extensions.
///
/// Without it services are not told who asked, and clients share their rate limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub SocketAddr);

/// Admits requests: what they say is either true or removed.
#[derive(Debug, Clone)]
pub struct AdmissionLayer {
    router: Arc<Router>,
    templates: Arc<[Arc<str>]>,
}

impl AdmissionLayer {
    /// Finds routes with `router`, whose paths are `templates`.
    pub fn new(router: Router, templates: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self {
            router: Arc::new(router),
            templates: templates.into_iter().collect(),
        }
    }

    fn admit<B>(&self, request: &mut Request<B>) {
        let client = request
            .extensions()
            .get()
            .map(|ClientAddress(client)| *client);
        let uri = request.uri().clone();
        headers::admit(request.headers_mut(), &uri, client);
        let found = self.router.find(request.method(), uri.path());
        if let Match::Found(index) = found
            && let Some(template) = self.templates.get(index)
        {
            let route = telemetry::http::Route(template.clone());
            request.extensions_mut().insert(route);
        }
        request.extensions_mut().insert(found);
    }
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Admission<S> {
        Admission {
            inner,
            layer: self.clone(),
        }
    }
}

/// See [`AdmissionLayer`].
#[derive(Debug, Clone)]
pub struct Admission<S> {
    inner: S,
    layer: AdmissionLayer,
}

impl<S, B> Service<Request<B>> for Admission<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        self.layer.admit(&mut request);
        self.inner.call(request)
    }
}
