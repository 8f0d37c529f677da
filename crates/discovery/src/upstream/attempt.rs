//! One attempt of a call: an instance is picked, its breaker asked, and the request sent.
//!
//! Who cannot be connected to is passed over within the attempt, for nothing was sent to them. Whatever else fails ends
//! it; whether another attempt would do no harm is said with the answer.

use std::{
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum_core::body::Body;
use env::{
    RequestContext,
    request::{IDEMPOTENCY_KEY, OVERLOADED},
};
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header, request::Parts, uri};
use resilience::{Breaker, breaker::Permit};
use tower::Service;
use tracing::Span;

use super::{
    body::{InFlight, Repeatable},
    call::{Attempted, Call, Flight},
    condition::Ended,
    members::{Member, Pool},
    ways::Shared,
};
use crate::{Error, Result};

/// A request that may be sent more than once.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) head: Arc<Parts>,
    pub(super) body: Repeatable,
}

impl Outgoing {
    /// The same request again, if making it twice is as good as once.
    pub(super) fn again(&self) -> Option<Self> {
        may_be_repeated(&self.head).then(|| self.clone())
    }

    /// The same request beside itself: only if there is no body that the two would share.
    pub(super) fn beside(&self) -> Option<Self> {
        self.body.is_empty().then(|| self.again()).flatten()
    }

    fn is_repeatable(&self) -> bool {
        may_be_repeated(&self.head) && self.body.is_whole()
    }
}

/// Whether making the request twice is as good as once: its method says so (RFC 9110, section 9.2.2), or it has a key by
/// which the service takes a repeat for what it is (G3).
pub(super) fn may_be_repeated(head: &Parts) -> bool {
    head.method.is_idempotent() || head.headers.contains_key(IDEMPOTENCY_KEY)
}

/// An answer.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) said: Said,
    /// Another attempt would do no harm.
    pub(super) repeatable: bool,
}

/// No answer.
pub(super) struct Failure {
    pub(super) error: Error,
    /// Another attempt would do no harm.
    pub(super) repeatable: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            repeatable: false,
        }
    }
}

/// What an answer says by its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    /// Of the instance that gave it.
    instance: Ended,
    /// It is worth asking again.
    pub(super) again: bool,
    /// Not before this time has passed, if it says so in seconds.
    pub(super) after: Option<Duration>,
    /// There is too much to do.
    pub(super) overloaded: bool,
}

impl Said {
    fn by(answer: &Response<impl Sized>) -> Self {
        let after = retry_after(answer.headers()).map(Duration::from_secs);
        let (instance, again, overloaded) = match answer.status() {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY => (Ended::Refused, true, true),
            StatusCode::SERVICE_UNAVAILABLE if after.is_some() => (Ended::Refused, true, true),
            StatusCode::SERVICE_UNAVAILABLE => (Ended::Badly, true, true),
            StatusCode::GATEWAY_TIMEOUT => (Ended::Refused, false, true),
            status if status.is_server_error() => (Ended::Badly, false, false),
            _ => (Ended::Well, false, false),
        };
        Self {
            instance,
            // Who waits for a place would take one from those who could have it.
            again: again && !answer.headers().contains_key(OVERLOADED),
            after,
            overloaded,
        }
    }
}

/// The seconds of a `Retry-After` header (RFC 9110, section 10.2.3). One that names a date counts as none.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::RETRY_AFTER)?;
    value.to_str().ok()?.trim().parse().ok()
}

/// See the [module](self).
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) shared: Arc<Shared>,
    /// Whether the breakers of the instances count.
    pub(super) breaker: bool,
}

impl Service<Outgoing> for Attempt {
    type Response = Answer;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Answer, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        // Which instance takes a request, and whether one does, is found out with the request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Outgoing) -> Self::Future {
        let attempt = self.clone();
        Box::pin(async move {
            let attempted = Attempted::new(attempt.enter(attempt.shared.breaker.as_ref())?);
            match attempt.send_to_any(&request).await {
                Ok((response, said)) => {
                    attempted.ended(said.instance);
                    Ok(Answer {
                        response,
                        said,
                        repeatable: request.is_repeatable(),
                    })
                }
                Err(error) => {
                    let broke = matches!(error, Error::Transport { .. });
                    attempted.ended(match broke || error.is_connect() {
                        true => Ended::Badly,
                        false => Ended::Otherwise,
                    });
                    Err(Failure {
                        repeatable: broke && request.is_repeatable(),
                        error,
                    })
                }
            }
        })
    }
}

impl Attempt {
    async fn send_to_any(&self, request: &Outgoing) -> Result<(Response<Body>, Said)> {
        let members = &self.shared.members;
        let pool = members.known(self.shared.first_word).await;
        let key = request.head.extensions.get().copied();
        let (mut avoid, mut failure) = (request.body.avoided(), None);
        loop {
            let picked = members.pick(&pool, key, &avoid, self.breaker);
            // Where all others have failed the request too, the same one is as good as any.
            let picked = match (picked, &failure) {
                (None, None) if !avoid.is_empty() => members.pick(&pool, key, &[], self.breaker),
                (picked, _) => picked,
            };
            let Some(index) = picked else {
                return Err(failure.unwrap_or_else(|| self.unavailable(&pool)));
            };
            let member = &pool.members[index];
            let address = member.instance.address;
            match self.send_to(member, request).await {
                // Somebody else took the last place; nothing was sent.
                Err(Error::CircuitOpen { .. }) => {}
                // Nothing was sent either, or to somebody who has not touched it.
                Err(error @ (Error::Connect { .. } | Error::Misdirected { .. }))
                    if request.body.is_whole() =>
                {
                    failure = Some(error);
                }
                ended => {
                    request.body.avoid(address);
                    return ended;
                }
            }
            if avoid.contains(&address) {
                return Err(failure.unwrap_or_else(|| self.unavailable(&pool)));
            }
            avoid.push(address);
        }
    }

    async fn send_to(
        &self,
        member: &Arc<Member>,
        request: &Outgoing,
    ) -> Result<(Response<Body>, Said)> {
        let body = &request.body;
        let head = Parts::clone(&request.head);
        let mut sent = Request::from_parts(head, body.to_body());
        *sent.uri_mut() = absolute(member.instance.address, sent.uri()).map_err(|error| {
            Error::InvalidRequest {
                service: self.shared.name(),
                path: sent.uri().path().to_owned(),
                reason: error.to_string(),
            }
        })?;
        // With each attempt there is less time left.
        RequestContext::current().write_headers(sent.headers_mut());
        let permit = self.enter(Some(&member.breaker))?;
        Span::current().record("server.instance", &*member.instance.id);
        let call = Call::new(&self.shared.members, member, permit);
        let flight = Flight::new(&member.condition);
        match self.shared.http.request(sent).await {
            Ok(answer) if answer.status() == StatusCode::MISDIRECTED_REQUEST => {
                call.ended(Ended::Badly);
                Err(Error::Misdirected {
                    service: self.shared.name(),
                    address: member.instance.address,
                })
            }
            Ok(answer) => {
                let said = Said::by(&answer);
                call.ended(said.instance);
                let answer = answer.map(|body| Body::new(InFlight::new(body, flight)));
                Ok((answer, said))
            }
            Err(source) if body.is_broken() => {
                call.ended(Ended::Otherwise);
                Err(Error::RequestBody {
                    service: self.shared.name(),
                    source: source.into(),
                })
            }
            Err(source) => {
                call.ended(Ended::Badly);
                let (service, refused) = (self.shared.name(), source.is_connect());
                let source = source.into();
                Err(if refused {
                    Error::Connect { service, source }
                } else {
                    Error::Transport { service, source }
                })
            }
        }
    }

    fn enter<'a>(&self, breaker: Option<&'a Breaker>) -> Result<Option<Permit<&'a Breaker>>> {
        let counts = breaker.filter(|_| self.breaker);
        let entered = counts.map(Breaker::enter).transpose();
        entered.map_err(|open| Error::CircuitOpen {
            service: self.shared.name(),
            retry_after: open.retry_after,
        })
    }

    /// Why there is no instance to send anything to.
    fn unavailable(&self, pool: &Pool) -> Error {
        let service = self.shared.name();
        let staying = pool.members.iter().filter(|one| !one.instance.draining);
        match staying.map(|member| member.breaker.wait()).min() {
            None => Error::NoInstances { service },
            Some(retry_after) => Error::CircuitOpen {
                service,
                retry_after,
            },
        }
    }
}

fn absolute(address: SocketAddr, uri: &Uri) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().map_or("/", uri::PathAndQuery::as_str);
    Uri::builder()
        .scheme("http")
        .authority(address.to_string())
        .path_and_query(path)
        .build()
}
