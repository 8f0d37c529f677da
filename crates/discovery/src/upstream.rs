//! All instances of one service, as one to send requests to.
//!
//! An instance is picked, its breaker asked, and the request sent with the caller's identity, deadline, correlation
//! id and trace. Bodies stream both ways. What is guaranteed of second attempts: one goes to another instance only,
//! within the same deadline, and only if no part of the body was asked for. A connection that could not be made is
//! always worth one, for nothing had been sent; a connection that broke is worth a single one, and only for a method
//! that may be repeated (RFC 9110, section 9.2.2).

mod body;
mod call;
mod members;

use std::{mem, sync::Arc, time::Duration};

use axum_core::body::Body;
use env::{Instant, RequestContext};
use http::{Method, Request, Response, Uri, header, uri};
use identity::Issuer;
use resilience::breaker;
use telemetry::http::{Route, record_error, record_status};
use tokio::sync::watch;
use tracing::{Instrument, Span, field};

use self::{
    body::{InFlight, Unsent},
    call::{Call, Ended},
    members::{Member, Members},
};
use crate::{
    Error, HttpClient, Result,
    balance::{Picker, Strategy},
    registry::Instances,
};

/// How long a caller waits that set no deadline.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// How calls are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Which instance takes a call. Default: the one with the fewest requests in flight.
    pub strategy: Strategy,
    /// When an instance is left alone.
    pub breaker: breaker::Settings,
    /// How long a call may take whose caller set no deadline. Default 5 s.
    pub deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            breaker: breaker::Settings::default(),
            deadline: DEFAULT_DEADLINE,
        }
    }
}

/// See the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct Upstream(Arc<Shared>);

struct Shared {
    service: Arc<str>,
    members: Members,
    picker: Picker,
    deadline: Duration,
    http: HttpClient,
    issuer: Option<Arc<Issuer>>,
}

impl Upstream {
    pub(crate) fn new(
        service: &str,
        instances: watch::Receiver<Instances>,
        http: HttpClient,
        issuer: Option<Arc<Issuer>>,
        settings: Settings,
    ) -> Self {
        Self(Arc::new(Shared {
            service: service.into(),
            members: Members::new(instances, settings.breaker),
            picker: Picker::new(settings.strategy),
            deadline: settings.deadline,
            http,
            issuer,
        }))
    }

    /// The service.
    pub fn service(&self) -> &str {
        &self.0.service
    }

    /// Whether an instance is known.
    pub fn is_known(&self) -> bool {
        !self.0.members.now().is_empty()
    }

    /// Sends `request`, whose URI holds the path only, to one of the instances. A
    /// [`Route`] among its extensions names its span.
    ///
    /// The call is over with the head of the answer; whoever reads the body says how long that may take.
    ///
    /// # Errors
    /// [`Error::NoInstances`], [`Error::CircuitOpen`], [`Error::DeadlineExceeded`], [`Error::Connect`],
    /// [`Error::Transport`], [`Error::RequestBody`], [`Error::InvalidRequest`], [`Error::Token`].
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>> {
        let (context, deadline) = self.context();
        let span = self.span(&request);
        // Boxed, for what hyper keeps of a request is large, and callers wrap it again and again.
        let call = Box::pin(self.send_within(context, deadline, request));
        let answer = call.instrument(span.clone()).await;
        match &answer {
            Ok(answer) => record_status(&span, answer.status()),
            Err(Error::DeadlineExceeded { .. }) => record_error(&span, "timeout"),
            Err(_) => record_error(&span, "error"),
        }
        answer
    }

    /// The caller's context, and when the call must have ended.
    pub(crate) fn context(&self) -> (RequestContext, Instant) {
        let mut context = RequestContext::current();
        let deadline = context
            .deadline
            .unwrap_or_else(|| env::instant() + self.0.deadline);
        context.deadline = Some(deadline);
        (context, deadline)
    }

    pub(crate) fn late(&self) -> Error {
        Error::DeadlineExceeded {
            service: self.name(),
        }
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

    async fn send_within(
        &self,
        context: RequestContext,
        deadline: Instant,
        mut request: Request<Body>,
    ) -> Result<Response<Body>> {
        let remaining = deadline.saturating_duration_since(env::instant());
        if remaining.is_zero() {
            return Err(self.late());
        }
        context.write_headers(request.headers_mut());
        telemetry::propagation::inject(request.headers_mut());
        if let Some(issuer) = &self.0.issuer {
            let bearer = issuer
                .bearer(&self.0.service)
                .map_err(|source| Error::Token {
                    service: self.name(),
                    source,
                })?;
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        env::timeout(remaining, self.send_to_any(request, deadline))
            .await
            .unwrap_or_else(|_| Err(self.late()))
    }

    async fn send_to_any(
        &self,
        request: Request<Body>,
        deadline: Instant,
    ) -> Result<Response<Body>> {
        let members = self.0.members.now();
        let (head, body) = request.into_parts();
        let body = Unsent::new(body);
        let (mut tried, mut failure, mut repeated) = (Vec::new(), None, false);
        loop {
            let pick = self.0.picker.pick(
                members.len(),
                |index| !tried.contains(&index) && members[index].breaker.is_available(),
                |index| members[index].in_flight(),
            );
            let Some(index) = pick else {
                return Err(failure.unwrap_or_else(|| self.unavailable(&members)));
            };
            let attempt = Request::from_parts(head.clone(), body.clone().into_body());
            match self
                .send_to(&members[index], attempt, &body, deadline)
                .await
            {
                // Somebody else took the last place; nothing was sent.
                Err(Error::CircuitOpen { .. }) => {}
                Err(error) if worth_another(&error, &head.method, &body, &mut repeated) => {
                    failure = Some(error);
                }
                ended => return ended,
            }
            tried.push(index);
        }
    }

    async fn send_to(
        &self,
        member: &Member,
        mut request: Request<Body>,
        body: &Unsent,
        deadline: Instant,
    ) -> Result<Response<Body>> {
        *request.uri_mut() = absolute(member.instance.address, request.uri()).map_err(|error| {
            Error::InvalidRequest {
                service: self.name(),
                path: request.uri().path().to_owned(),
                reason: error.to_string(),
            }
        })?;
        let permit = member.breaker.enter().map_err(|open| Error::CircuitOpen {
            service: self.name(),
            retry_after: open.retry_after,
        })?;
        Span::current().record("server.instance", &*member.instance.id);
        let call = Call::new(permit, deadline);
        let flight = member.begin();
        match self.0.http.request(request).await {
            Ok(answer) => {
                call.ended(match answer.status().is_server_error() {
                    true => Ended::Badly,
                    false => Ended::Well,
                });
                Ok(answer.map(|body| Body::new(InFlight::new(body, flight))))
            }
            Err(source) if body.is_broken() => {
                call.ended(Ended::Otherwise);
                Err(Error::RequestBody {
                    service: self.name(),
                    source: source.into(),
                })
            }
            Err(source) => {
                call.ended(Ended::Badly);
                let (service, refused) = (self.name(), source.is_connect());
                let source = source.into();
                Err(if refused {
                    Error::Connect { service, source }
                } else {
                    Error::Transport { service, source }
                })
            }
        }
    }

    /// Why there is no instance to send anything to.
    fn unavailable(&self, members: &[Arc<Member>]) -> Error {
        let service = self.name();
        match members.iter().map(|member| member.breaker.wait()).min() {
            None => Error::NoInstances { service },
            Some(retry_after) => Error::CircuitOpen {
                service,
                retry_after,
            },
        }
    }

    fn name(&self) -> String {
        self.0.service.to_string()
    }
}

/// Whether another instance may be tried after `error`: see the [module](self).
fn worth_another(error: &Error, method: &Method, body: &Unsent, repeated: &mut bool) -> bool {
    body.is_untouched()
        && match error {
            Error::Connect { .. } => true,
            Error::Transport { .. } => method.is_idempotent() && !mem::replace(repeated, true),
            _ => false,
        }
}

fn absolute(address: std::net::SocketAddr, uri: &Uri) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().map_or("/", uri::PathAndQuery::as_str);
    Uri::builder()
        .scheme("http")
        .authority(address.to_string())
        .path_and_query(path)
        .build()
}
