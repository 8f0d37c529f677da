//! A shared cache of answers to GET (RFC 9111), for routes that allow it.
//!
//! Guaranteed: an answer is given again only to requests that are alike in host, path, query and every
//! header that the answer varies by; never to, nor from, a request that says who asks (`authorization`,
//! `cookie`); never when it sets a cookie or its `cache-control` forbids it; and never longer than the route
//! or the answer allows, whichever is less. A write through the gateway to a path drops what is stored of
//! it. Every answer says by `cache-status` (RFC 9211) what the cache did.
//!
//! Stored bodies take bounded memory, and an answer streams to its client while it is being stored.

mod control;
pub mod freshness;
mod recording;
mod store;

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum_core::{body::Body, response::Response};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use tower::{Layer, Service, ServiceExt};

use crate::{headers, layers::Refusal};
use freshness::{Bypass, Lookup, Reuse};
pub use store::Store;
use store::{Found, Stored};

/// What the cache did (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Answers from the cache what the cache may answer. A clone shares the stored answers.
#[derive(Clone, Debug)]
pub struct CacheLayer {
    store: Store,
    limit: Option<Duration>,
}

impl CacheLayer {
    /// Keeps answers in `store` for at most `limit`; without one, only drops what a write makes stale.
    pub fn new(store: Store, limit: Option<Duration>) -> Self {
        Self { store, limit }
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = Cache<S>;

    fn layer(&self, inner: S) -> Cache<S> {
        Cache {
            inner,
            layer: self.clone(),
        }
    }
}

/// See [`CacheLayer`].
#[derive(Clone, Debug)]
pub struct Cache<S> {
    inner: S,
    layer: CacheLayer,
}

impl<S> Service<Request<Body>> for Cache<S>
where
    S: Service<Request<Body>, Response = Response, Error = Refusal> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Refusal;
    type Future = BoxFuture<'static, Result<Response, Refusal>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        // A hit needs nothing below; a miss waits for it in the future.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let CacheLayer { store, limit } = self.layer.clone();
        let inner = self.inner.clone();
        match limit {
            Some(limit) if request.method() == Method::GET => {
                Box::pin(read(store, limit, inner, request))
            }
            _ => Box::pin(pass(store, limit.is_some(), inner, request)),
        }
    }
}

/// A request that the cache cannot answer; it may change what is stored.
async fn pass<S>(
    store: Store,
    caching: bool,
    inner: S,
    request: Request<Body>,
) -> Result<Response, Refusal>
where
    S: Service<Request<Body>, Response = Response, Error = Refusal>,
{
    let written = (!request.method().is_safe()).then(|| key(&request));
    let mut response = inner.oneshot(request).await?;
    let status = response.status();
    if let Some(key) = written
        && (status.is_success() || status.is_redirection())
    {
        store.forget(&key).await;
    }
    if caching {
        say(response.headers_mut(), "fwd=method");
    }
    Ok(response)
}

async fn read<S>(
    store: Store,
    limit: Duration,
    inner: S,
    request: Request<Body>,
) -> Result<Response, Refusal>
where
    S: Service<Request<Body>, Response = Response, Error = Refusal>,
{
    let key = key(&request);
    let (why, may_store) = match freshness::lookup(request.headers()) {
        Lookup::Bypass(reason) => (bypassed(reason), false),
        Lookup::Refresh => ("fwd=request", true),
        Lookup::Reuse(wanted) => match store.find(&key, request.headers()).await {
            Found::Stored(stored) => match answer(&stored, wanted) {
                Some(response) => return Ok(response),
                None => ("fwd=stale", true),
            },
            Found::OtherVariants => ("fwd=vary-miss", true),
            Found::Nothing => ("fwd=uri-miss", true),
        },
    };
    let asked = may_store.then(|| request.headers().clone());
    let mut response = inner.oneshot(request).await?;
    let keep = asked.and_then(|asked| Stored::begin(&asked, &response, limit));
    let Some(stored) = keep.filter(|_| store.has_room_for(&response)) else {
        say(response.headers_mut(), why);
        return Ok(response);
    };
    say(response.headers_mut(), &format!("{why}; stored"));
    Ok(response.map(|body| recording::record(body, store, key, stored)))
}

fn bypassed(reason: Bypass) -> &'static str {
    match reason {
        Bypass::Asked => "fwd=request",
        Bypass::Personal => "fwd=bypass; detail=personal",
        Bypass::Conditional => "fwd=bypass; detail=conditional",
    }
}

fn answer(stored: &Arc<Stored>, wanted: Reuse) -> Option<Response> {
    let now = env::instant();
    let age = stored.freshness.age(now);
    let left = stored.freshness.left(now).filter(|_| wanted.accepts(age))?;
    let mut response = Response::new(Body::from(stored.body.clone()));
    response.headers_mut().clone_from(&stored.headers);
    let headers = response.headers_mut();
    headers.insert(header::AGE, age.as_secs().into());
    say(headers, &format!("hit; ttl={}", left.as_secs()));
    Some(response)
}

fn say(headers: &mut HeaderMap, what: &str) {
    if let Ok(value) = HeaderValue::try_from(format!("outrigger; {what}")) {
        headers.append(CACHE_STATUS, value);
    }
}

/// What an answer is stored under; within it, by the headers that the answer varies by.
fn key(request: &Request<Body>) -> String {
    let host = headers::host(request.headers(), request.uri());
    let host = host.as_ref().map_or("", |host| host.as_str());
    let uri = request.uri();
    let asked = uri
        .path_and_query()
        .map_or(uri.path(), |asked| asked.as_str());
    format!("{}{asked}", host.to_ascii_lowercase())
}
