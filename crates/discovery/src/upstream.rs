//! All instances of one service, as one to send requests to.
//!
//! An instance is picked, its breaker asked, and the request sent with the caller's identity, deadline, correlation
//! id and trace. Bodies stream both ways. A connection that could not be made goes to another instance: nothing
//! had been sent.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum_core::body::Body;
use bytes::Bytes;
use env::{Instant, RequestContext};
use http::{Request, Response, Uri, header, uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use identity::Issuer;
use indexmap::IndexMap;
use resilience::{
    Breaker,
    breaker::{self, Permit},
};
use tokio::sync::watch;

use crate::{Error, HttpClient, Instance, Result, balance::Picker, registry::Instances};

/// How long a caller waits that set no deadline.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);

/// See the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct Upstream(Arc<Shared>);

struct Shared {
    service: Arc<str>,
    instances: watch::Receiver<Instances>,
    picker: Picker,
    breakers: breaker::Settings,
    members: Mutex<IndexMap<String, Arc<Member>>>,
    http: HttpClient,
    issuer: Option<Arc<Issuer>>,
}

/// An instance, with what is known of the calls to it.
struct Member {
    instance: Arc<Instance>,
    breaker: Breaker,
    in_flight: AtomicUsize,
}

impl Upstream {
    pub(crate) fn new(
        service: &str,
        instances: watch::Receiver<Instances>,
        http: HttpClient,
        issuer: Option<Arc<Issuer>>,
    ) -> Self {
        Self(Arc::new(Shared {
            service: service.into(),
            instances,
            picker: Picker::default(),
            breakers: breaker::Settings::default(),
            members: Mutex::default(),
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
        !self.0.instances.borrow().is_empty()
    }

    /// Sends `request`, whose URI holds the path only, to one of the instances.
    ///
    /// # Errors
    /// [`Error::NoInstances`], [`Error::CircuitOpen`], [`Error::DeadlineExceeded`], [`Error::Transport`].
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>> {
        let mut context = RequestContext::current();
        if context.deadline.is_none() {
            context = context.within(DEFAULT_DEADLINE);
        }
        let remaining = context.remaining().unwrap_or(DEFAULT_DEADLINE);
        if remaining.is_zero() {
            return Err(self.late());
        }
        let deadline = env::instant() + remaining;
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
        match env::timeout(remaining, self.send_to_any(request, deadline)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.late()),
        }
    }

    async fn send_to_any(
        &self,
        request: Request<Body>,
        deadline: Instant,
    ) -> Result<Response<Body>> {
        let members = self.members();
        if members.is_empty() {
            return Err(Error::NoInstances {
                service: self.name(),
            });
        }
        let (head, body) = request.into_parts();
        let body = Unsent::new(body);
        let mut tried = vec![false; members.len()];
        let mut failure = None;
        loop {
            let pick = self.0.picker.pick(
                members.len(),
                |index| !tried[index] && members[index].breaker.is_available(),
                |index| members[index].in_flight.load(Ordering::Relaxed),
            );
            let Some(index) = pick else {
                return Err(failure.unwrap_or_else(|| Error::CircuitOpen {
                    service: self.name(),
                    retry_after: Duration::from_secs(1),
                }));
            };
            tried[index] = true;
            let request = Request::from_parts(head.clone(), body.clone().into_body());
            match self.send_to(&members[index], request, deadline).await {
                Err(error) if error.is_connect() && body.is_untouched() => failure = Some(error),
                ended => return ended,
            }
        }
    }

    async fn send_to(
        &self,
        member: &Arc<Member>,
        mut request: Request<Body>,
        deadline: Instant,
    ) -> Result<Response<Body>> {
        let permit = member.breaker.enter().map_err(|open| Error::CircuitOpen {
            service: self.name(),
            retry_after: open.retry_after,
        })?;
        let call = Call {
            permit: Some(permit),
            deadline,
        };
        *request.uri_mut() = absolute(member.instance.address, request.uri()).map_err(|error| {
            Error::InvalidRequest {
                service: self.name(),
                path: request.uri().path().to_owned(),
                reason: error.to_string(),
            }
        })?;
        let flight = Flight::new(member);
        match self.0.http.request(request).await {
            Ok(answer) => {
                call.ended(!answer.status().is_server_error());
                Ok(answer.map(|body| {
                    Body::new(InFlight {
                        body,
                        _flight: flight,
                    })
                }))
            }
            Err(source) => {
                call.ended(false);
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

    /// The known instances; what was learned of those that stay is kept.
    fn members(&self) -> Vec<Arc<Member>> {
        let instances = self.0.instances.borrow().clone();
        let mut members = self
            .0
            .members
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        members.retain(|id, _| instances.iter().any(|instance| instance.id == *id));
        for instance in instances.iter() {
            members.entry(instance.id.clone()).or_insert_with(|| {
                Arc::new(Member {
                    instance: instance.clone(),
                    breaker: Breaker::new(self.0.breakers.clone()),
                    in_flight: AtomicUsize::new(0),
                })
            });
        }
        members.values().cloned().collect()
    }

    fn name(&self) -> String {
        self.0.service.to_string()
    }

    fn late(&self) -> Error {
        Error::DeadlineExceeded {
            service: self.name(),
        }
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

/// A call whose end the breaker hears of. One that is given up after its deadline has failed; one that is given up
/// before it says nothing of the instance.
struct Call {
    permit: Option<Permit>,
    deadline: Instant,
}

impl Call {
    fn ended(mut self, well: bool) {
        match self.permit.take() {
            Some(permit) if well => permit.succeeded(),
            Some(permit) => permit.failed(),
            None => {}
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take()
            && env::instant() >= self.deadline
        {
            permit.failed();
        }
    }
}

/// Counts a request as under way until it is dropped.
struct Flight(Arc<Member>);

impl Flight {
    fn new(member: &Arc<Member>) -> Self {
        member.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(member))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer: the request is under way until it ends.
struct InFlight<B> {
    body: B,
    _flight: Flight,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for InFlight<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, which stays ours until a connection asks for its first frame. As long as none has, the
/// request can be made again elsewhere.
#[derive(Clone)]
struct Unsent(Arc<Mutex<(Body, bool)>>);

impl Unsent {
    fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new((body, false))))
    }

    fn into_body(self) -> Body {
        if self.lock().0.is_end_stream() {
            Body::empty()
        } else {
            Body::new(self)
        }
    }

    fn is_untouched(&self) -> bool {
        !self.lock().1
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Body, bool)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Unsent {
    type Data = Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut slot = self.lock();
        slot.1 = true;
        Pin::new(&mut slot.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().0.size_hint()
    }
}
