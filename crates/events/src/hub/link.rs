//! Requests to the hub, and what its answers mean.

use std::time::Duration;

use axum_core::body::Body;
use bytes::Bytes;
use env::{
    BoxError, Problem,
    http::{HttpClient, Origin},
};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::Token;
use crate::{Error, Result};

/// The port of a hub whose address names none.
const PORT: u16 = 7700;
/// How long the hub may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most that an answer may hold, in bytes: somewhat more than a hub gives at once.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;

pub(super) const JSON: &str = "application/json";
/// A batch of CloudEvents in structured JSON.
pub(super) const MANY: &str = "application/cloudevents-batch+json";

/// The way to the hub.
#[derive(Clone)]
pub(super) struct Link {
    http: HttpClient,
    hub: Origin,
    token: Option<Token>,
}

/// Why the hub did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It cannot be reached, is in trouble, or is not itself.
    #[error("the hub cannot be reached")]
    Away(#[source] BoxError),
    /// It refuses, and would refuse the same again.
    #[error("the hub refuses: {}", _0.detail)]
    Refused(Box<Problem>),
    /// There is no token to show it.
    #[error("no token could be made for the hub")]
    Token(#[source] BoxError),
}

impl Failure {
    /// Whether the hub does not know (any more) whoever asks.
    pub(super) fn is(&self, kind: &str) -> bool {
        matches!(self, Self::Refused(problem) if problem.kind() == kind)
    }

    /// The same of events: where the hub refuses what they are, others can be published.
    pub(super) fn of_events(self) -> Error {
        match self {
            Self::Refused(problem) if matches!(problem.status, 400 | 413) => {
                Error::InvalidEnvelope {
                    reason: problem.detail,
                }
            }
            failure => failure.into(),
        }
    }

    fn away(source: impl Into<BoxError>) -> Self {
        Self::Away(source.into())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            // What is not there, or in the way, may be otherwise when it is asked again.
            Failure::Refused(problem) if !matches!(problem.status, 404 | 409) => Self::Unsuitable {
                what: "the hub".to_owned(),
                reason: problem.detail,
            },
            failure => Self::Unavailable {
                source: failure.into(),
            },
        }
    }
}

impl Link {
    pub(super) fn new(url: &str) -> Result<Self> {
        let invalid = |reason| Error::InvalidUrl { reason };
        let hub = Origin::parse(url, PORT).map_err(|reason| invalid(reason.to_owned()))?;
        Ok(Self {
            http: hub.client().map_err(invalid)?,
            hub,
            token: None,
        })
    }

    pub(super) fn with_token(&self, token: Token) -> Self {
        Self {
            token: Some(token),
            ..self.clone()
        }
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.send(Method::GET, path, Bytes::new()).await?;
        Ok(read(&answer)?)
    }

    /// The answer to JSON.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        self.ask(method, path, JSON, body).await
    }

    /// The whole answer to a request, where it is a good one.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        self.ask_patiently(PATIENCE, method, path, kind, body).await
    }

    /// The same, which may take `wait` longer than others.
    pub(super) async fn ask_after(
        &self,
        wait: Duration,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        self.ask_patiently(wait + PATIENCE, Method::POST, path, JSON, body)
            .await
    }

    async fn ask_patiently(
        &self,
        patience: Duration,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.hub))
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body))
            .map_err(Failure::away)?;
        if let Some(token) = &self.token {
            let bearer = token().map_err(Failure::Token)?;
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        let exchange = async {
            let answer = self.http.request(request).await.map_err(Failure::away)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_LIMIT);
            let body = body.collect().await.map_err(Failure::Away)?.to_bytes();
            if status.is_success() {
                return Ok(body);
            }
            let problem: Problem = serde_json::from_slice(&body).map_err(Failure::away)?;
            // What a hub in trouble says may be otherwise a moment later; what it says of the request will not be.
            if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
                return Err(Failure::Refused(Box::new(problem)));
            }
            Err(Failure::away(problem))
        };
        let answer = env::timeout(patience, exchange).await;
        answer.map_err(Failure::away)?
    }
}

/// What an answer says.
pub(super) fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(Failure::away)
}

/// The path of a group.
pub(super) fn group(name: &str) -> String {
    let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
    format!("/v1/subscriptions/{name}")
}
