//! All instances of one service, as one to send requests to.
//!
//! A request passes the layers of `stack`, which say in which order and why; at their end an instance is picked, its
//! breaker asked, and the request sent with the caller's identity, deadline, correlation id and trace. Bodies stream
//! both ways. What is guaranteed of second attempts: they are made within the same deadline, only if no part of the body
//! was asked for, and to another instance as long as there is one. A connection that could not be made is always worth
//! one, for nothing had been sent; a connection that broke, and an answer 429, 502 or 503, are worth one as far as the
//! budget reaches, and only for a method that may be repeated (RFC 9110, section 9.2.2).

mod attempt;
mod body;
mod call;
mod condition;
mod members;
mod probing;
mod settings;
mod stack;
mod vitals;

use std::sync::Arc;

use axum_core::body::Body;
use env::{Instant, RequestContext};
use http::{Method, Request, Response, header};
use identity::Issuer;
use resilience::{
    observe::{Observer, Reporter},
    retry::Budget,
};
use telemetry::http::{Route, record_error, record_status};
use tokio::sync::watch;
use tower::ServiceExt;
use tracing::{Instrument, Span, field};

pub(crate) use self::attempt::retry_after;
pub use self::settings::{DEFAULT_ATTEMPTS, DEFAULT_DEADLINE, Policy, Settings};
use self::{
    attempt::{Attempt, Outgoing},
    body::Unsent,
    members::Members,
    stack::Stack,
};
use crate::{Error, HttpClient, Instance, Result, balance::Key, registry::Instances};

/// See the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct Upstream(Arc<Ways>);

/// The ways to a service: one for most calls, and one for each call that has a policy of its own.
struct Ways {
    shared: Arc<Shared>,
    most: Way,
    some: Vec<(Method, String, Way)>,
}

struct Way {
    policy: Policy,
    stack: Stack,
}

/// What all ways share.
struct Shared {
    service: Arc<str>,
    members: Members,
    http: HttpClient,
    issuer: Option<Arc<Issuer>>,
}

impl Shared {
    fn name(&self) -> String {
        self.service.to_string()
    }
}

impl Upstream {
    pub(crate) fn new(
        service: &str,
        instances: watch::Receiver<Instances>,
        http: HttpClient,
        issuer: Option<Arc<Issuer>>,
        settings: Settings,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        let reporter = match &observer {
            Some(observer) => Reporter::new(service, Arc::clone(observer)),
            None => Reporter::silent(service),
        };
        let Settings {
            budget,
            policy,
            calls,
            health,
            ..
        } = settings.clone();
        let shared = Arc::new(Shared {
            service: service.into(),
            members: Members::new(service, instances, settings, observer),
            http,
            issuer,
        });
        if let Some(health) = health {
            tokio::spawn(probing::run(Arc::downgrade(&shared), health));
        }
        let budget = Budget::new(budget);
        let way = |policy: Policy| {
            let attempt = Attempt {
                shared: Arc::clone(&shared),
                breaker: policy.breaker,
            };
            let stack = stack::stack(attempt, &policy, &budget, &reporter);
            Way { policy, stack }
        };
        let some = calls.into_iter().filter_map(|(call, policy)| {
            let (method, path) = call.split_once(' ')?;
            Some((method.parse().ok()?, path.trim().to_owned(), way(policy)))
        });
        let some = some.collect();
        let most = way(policy);
        Self(Arc::new(Ways { shared, most, some }))
    }

    /// The service.
    pub fn service(&self) -> &str {
        &self.0.shared.service
    }

    /// Whether an instance is known.
    pub fn is_known(&self) -> bool {
        !self.0.shared.members.now().members.is_empty()
    }

    /// The instance that a call would go to now, where [`Key`] is that of the call; `None` when none takes calls. It
    /// takes no lock and allocates nothing.
    pub fn pick(&self, key: Option<Key>) -> Option<Arc<Instance>> {
        let members = &self.0.shared.members;
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
        let way = self.way(request.method(), route);
        let context = within(&way.policy);
        let span = self.span(&request);
        let sent = context.clone().scope(self.send_by(way, &context, request));
        // Boxed, for what hyper keeps of a request is large, and callers wrap it again and again.
        let answer = Box::pin(sent).instrument(span.clone()).await;
        match &answer {
            Ok(answer) => record_status(&span, answer.status()),
            Err(Error::DeadlineExceeded { .. }) => record_error(&span, "timeout"),
            Err(_) => record_error(&span, "error"),
        }
        answer
    }

    async fn send_by(
        &self,
        way: &Way,
        context: &RequestContext,
        mut request: Request<Body>,
    ) -> Result<Response<Body>> {
        context.write_headers(request.headers_mut());
        telemetry::propagation::inject(request.headers_mut());
        if let Some(issuer) = &self.0.shared.issuer {
            let bearer = issuer
                .bearer(self.service())
                .map_err(|source| Error::Token {
                    service: self.0.shared.name(),
                    source,
                })?;
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        let (head, body) = request.into_parts();
        let outgoing = Outgoing {
            head: Arc::new(head),
            body: Unsent::new(body),
        };
        way.stack.clone().oneshot(outgoing).await
    }

    /// The caller's context with its deadline, or with that of the call's policy; and when the call must have ended.
    pub(crate) fn context(&self, method: &Method, route: &str) -> (RequestContext, Instant) {
        let way = self.way(method, Some(route));
        let context = within(&way.policy);
        let deadline = context.deadline;
        let deadline = deadline.unwrap_or_else(|| env::instant() + way.policy.deadline);
        (context, deadline)
    }

    pub(crate) fn late(&self) -> Error {
        Error::DeadlineExceeded {
            service: self.0.shared.name(),
        }
    }

    /// The way of a call to the path of `route`.
    fn way(&self, method: &Method, route: Option<&str>) -> &Way {
        let own = |(of, path, _): &&(Method, String, Way)| of == method && Some(&**path) == route;
        match self.0.some.iter().find(own) {
            Some((_, _, way)) => way,
            None => &self.0.most,
        }
    }

    fn span(&self, request: &Request<Body>) -> Span {
        let route = request.extensions().get().map(|Route(route)| &**route);
        let method = request.method().as_str();
        tracing::info_span!(
            "call",
            otel.kind = "client",
            otel.name = format!("{method} {}", route.unwrap_or(&self.0.shared.service)),
            http.request.method = method,
            server.address = &*self.0.shared.service,
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
