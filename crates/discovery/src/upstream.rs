//! All instances of one service, as one to send requests to.
//!
//! A request passes the layers of `stack`, which say in which order and why; at their end an instance is picked, its
//! breaker asked, and the request sent with the caller's identity, deadline, correlation id and trace. Bodies stream
//! both ways. What is guaranteed of second attempts: they are made within the same deadline, with the whole body (up to 64
//! KiB are kept for that), and to another instance as long as there is one. A connection that could not be made is always
//! worth one, for nothing had been sent; a connection that broke, and an answer 429, 502 or 503, are worth one as far as the
//! budget reaches, and only for what may be repeated: by its method (RFC 9110, section 9.2.2), or for its `Idempotency-Key`.

mod attempt;
mod body;
mod call;
mod condition;
mod members;
mod probing;
mod protected;
mod settings;
mod stack;
mod vitals;
mod ways;

/// What `condition.rs` and `vitals.rs` synchronize with; a test puts loom's in its place.
mod sync {
    pub(super) use std::sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    };
}

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use axum_core::body::Body;
use env::{Instant, RequestContext};
use http::{Method, Request, Response, header};
use identity::Issuer;
use resilience::{Breaker, observe::Observer};
use telemetry::{
    Metrics,
    http::{Route, record_error, record_status},
};
use tokio::sync::watch;
use tower::ServiceExt;
use tracing::{Instrument, Span, field};

pub(crate) use self::attempt::retry_after;
use self::{
    attempt::Outgoing,
    body::{KEPT, Repeatable},
    members::{Members, reporter},
    ways::{Shared, Way, Ways},
};
pub use self::{
    protected::Protected,
    settings::{DEFAULT_ATTEMPTS, DEFAULT_DEADLINE, DEFAULT_FIRST_WORD, Policy, Settings},
};
use crate::{
    Error, Instance, Policies, Result, balance::Key, error::TIMEOUT, http_client_within,
    registry::Instances,
};

/// See the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct Upstream(Arc<Followed>);

/// The ways to a service, as the policies are now.
struct Followed {
    service: Arc<str>,
    issuer: Option<Arc<Issuer>>,
    observer: Option<Arc<dyn Observer>>,
    metrics: Option<Metrics>,
    ways: ArcSwap<Ways>,
    changing: Mutex<()>,
}

/// What an upstream is made of.
pub(crate) struct Parts {
    pub(crate) service: Arc<str>,
    pub(crate) instances: watch::Receiver<Instances>,
    pub(crate) issuer: Option<Arc<Issuer>>,
    pub(crate) policies: watch::Receiver<Arc<Policies>>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) metrics: Option<Metrics>,
}

impl Upstream {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            service,
            instances,
            issuer,
            mut policies,
            observer,
            metrics,
        } = parts;
        let settings = policies.borrow_and_update().of(&service).clone();
        let reporter = reporter(&service, observer.as_ref());
        let of_all = settings.service_breaker.clone();
        let shared = Shared {
            members: Members::new(&service, instances, settings.clone(), observer.clone()),
            http: http_client_within(settings.connect),
            breaker: of_all.map(|of_all| Breaker::reporting(of_all, reporter)),
            first_word: settings.first_word,
            service: Arc::clone(&service),
        };
        let ways = Ways::new(policies, settings, Arc::new(shared), observer.as_ref());
        Self(Arc::new(Followed {
            service,
            issuer,
            observer,
            metrics,
            ways: ArcSwap::from_pointee(ways),
            changing: Mutex::new(()),
        }))
    }

    /// The service.
    pub fn service(&self) -> &str {
        &self.0.service
    }

    /// Whether an instance is known.
    pub fn is_known(&self) -> bool {
        !self.ways().shared.members.now().members.is_empty()
    }

    /// The instance that a call would go to now, where [`Key`] is that of the call; `None` when none takes calls. It
    /// takes no lock and allocates nothing.
    pub fn pick(&self, key: Option<Key>) -> Option<Arc<Instance>> {
        let ways = self.ways();
        let members = &ways.shared.members;
        let pool = members.now();
        let index = members.pick(&pool, key, &[], true)?;
        Some(Arc::clone(&pool.members[index].instance))
    }

    /// Sends `request`, whose URI holds the path only, to one of the instances. A
    /// [`Route`] among its extensions names its span, and the policy that holds for it; a
    /// [`Key`] the instance, where the strategy is consistent hashing.
    ///
    /// The call is over with the head of the answer; whoever reads the body says how long that may take.
    ///
    /// # Errors
    /// [`Error::NoInstances`], [`Error::CircuitOpen`], [`Error::Overloaded`], [`Error::DeadlineExceeded`],
    /// [`Error::Connect`], [`Error::Transport`], [`Error::RequestBody`], [`Error::InvalidRequest`], [`Error::Token`].
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>> {
        let route = request.extensions().get().map(|Route(route)| &**route);
        let ways = Guard::into_inner(self.ways());
        let way = ways.of(request.method(), route);
        let context = within(&way.policy);
        let span = self.span(&request);
        let (method, begun) = (request.method().clone(), env::instant());
        let sent = context.scope(self.send_by(way, request));
        // Boxed, for what hyper keeps of a request is large, and callers wrap it again and again.
        let answer = Box::pin(sent).instrument(span.clone()).await;
        let ended = match &answer {
            Ok(answer) => Ok(answer.status()),
            Err(error) => Err(error.kind()),
        };
        match ended {
            Ok(status) => record_status(&span, status),
            Err(kind) => record_error(&span, if kind == TIMEOUT { kind } else { "error" }),
        }
        if let Some(metrics) = &self.0.metrics {
            metrics.http_client(&method, self.service(), ended, begun.elapsed());
        }
        answer
    }

    async fn send_by(&self, way: &Way, mut request: Request<Body>) -> Result<Response<Body>> {
        telemetry::propagation::inject(request.headers_mut());
        if let Some(issuer) = &self.0.issuer {
            let bearer = issuer
                .bearer(self.service())
                .map_err(|source| Error::Token {
                    service: self.0.service.to_string(),
                    source,
                })?;
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        let (head, body) = request.into_parts();
        let outgoing = Outgoing {
            // Also of what may not be repeated: who is not whom it was meant for has not touched it.
            body: Repeatable::new(body, KEPT),
            head: Arc::new(head),
        };
        way.stack.clone().oneshot(outgoing).await
    }

    /// The caller's context with its deadline, or with that of the call's policy; and when the call must have ended.
    pub(crate) fn context(&self, method: &Method, route: &str) -> (RequestContext, Instant) {
        let ways = self.ways();
        let way = ways.of(method, Some(route));
        let context = within(&way.policy);
        let deadline = context.deadline;
        let deadline = deadline.unwrap_or_else(|| env::instant() + way.policy.deadline);
        (context, deadline)
    }

    pub(crate) fn late(&self) -> Error {
        Error::DeadlineExceeded {
            service: self.0.service.to_string(),
        }
    }

    fn ways(&self) -> Guard<Arc<Ways>> {
        let ways = self.0.ways.load();
        if !ways.is_outdated() {
            return ways;
        }
        let changing = &self.0.changing;
        let _changing = changing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.0.ways.load();
        if known.is_outdated() {
            let ways = known.renewed(&self.0.service, self.0.observer.as_ref());
            self.0.ways.store(Arc::new(ways));
        }
        self.0.ways.load()
    }

    fn span(&self, request: &Request<Body>) -> Span {
        let route = request.extensions().get().map(|Route(route)| &**route);
        let method = request.method().as_str();
        tracing::info_span!(
            "call",
            otel.kind = "client",
            otel.name = format!("{method} {}", route.unwrap_or(&self.0.service)),
            http.request.method = method,
            server.address = &*self.0.service,
            server.instance = field::Empty,
            url.path = request.uri().path(),
            url.template = route,
        )
    }
}

/// The caller's context, with the deadline of `policy` where the caller set none.
fn within(policy: &Policy) -> RequestContext {
    let mut context = RequestContext::current();
    if context.deadline.is_none() {
        context = context.within(policy.deadline);
    }
    context
}
