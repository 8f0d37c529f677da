//! How often one client may ask a route: 429 with `retry-after`.
//!
//! A client is an address, and for IPv6 the /64 that it is in, for that is what one subscriber is given. Each
//! answer says by `ratelimit-policy` and `ratelimit` (draft-ietf-httpapi-ratelimit-headers) how much is
//! left. Gateways count each for itself.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum_core::response::Response;
use env::Problem;
use futures::{
    FutureExt, TryFutureExt,
    future::{BoxFuture, ready},
};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use resilience::rate_limit::{Decision, RateLimiter};
use tower::{Layer, Service};

use super::{Refusal, admission::ClientAddress};
use crate::config::RateLimit;

/// How much is left to the client.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// How much there is for each client.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Counts the requests of each client. A clone shares the counts.
#[derive(Clone)]
pub struct RateLimitLayer {
    limiter: Arc<RateLimiter<IpAddr>>,
    policy: HeaderValue,
}

impl RateLimitLayer {
    /// Allows each client what `limit` says.
    pub fn new(limit: &RateLimit) -> Self {
        let refill = limit.per() * limit.burst().get() / limit.requests().get();
        let policy = format!(r#""client";q={};w={}"#, limit.burst(), seconds(refill));
        Self {
            limiter: Arc::new(RateLimiter::new(limit.limit())),
            policy: HeaderValue::try_from(policy).expect("made of numbers"),
        }
    }
}

/// Whole seconds, at least one: who is told to wait none asks at once.
fn seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

/// Whom requests are counted for.
fn client(address: Option<&ClientAddress>) -> IpAddr {
    match address.map(|ClientAddress(address)| address.ip().to_canonical()) {
        Some(IpAddr::V6(address)) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        Some(address) => address,
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimited<S>;

    fn layer(&self, inner: S) -> RateLimited<S> {
        RateLimited {
            inner,
            layer: self.clone(),
        }
    }
}

/// See [`RateLimitLayer`].
#[derive(Clone, Debug)]
pub struct RateLimited<S> {
    inner: S,
    layer: RateLimitLayer,
}

impl<S, B> Service<Request<B>> for RateLimited<S>
where
    S: Service<Request<B>, Response = Response, Error = Refusal>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Refusal;
    type Future = BoxFuture<'static, Result<Response, Refusal>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let policy = self.layer.policy.clone();
        match self
            .layer
            .limiter
            .check(&client(request.extensions().get()))
        {
            Decision::Refused { retry_after } => {
                let wait = seconds(retry_after);
                let left = left(0, Some(wait));
                let refusal = refuse(wait).with(RATE_LIMIT_POLICY, policy);
                ready(Err(refusal.with(RATE_LIMIT, left))).boxed()
            }
            Decision::Allowed { remaining } => {
                let answer = self.inner.call(request);
                let tell = move |mut response: Response| {
                    let headers = response.headers_mut();
                    headers.insert(RATE_LIMIT_POLICY, policy);
                    headers.insert(RATE_LIMIT, left(remaining, None));
                    response
                };
                answer.map_ok(tell).boxed()
            }
        }
    }
}

fn refuse(wait: u64) -> Refusal {
    let detail = format!("Too many requests. The next may be made in {wait} s.");
    let status = StatusCode::TOO_MANY_REQUESTS;
    Problem::new(status, "too-many-requests", detail)
        .retry_after(wait)
        .into()
}

fn left(remaining: u32, wait: Option<u64>) -> HeaderValue {
    let wait = wait.map_or_else(String::new, |wait| format!(";t={wait}"));
    HeaderValue::try_from(format!(r#""client";r={remaining}{wait}"#)).expect("made of numbers")
}
