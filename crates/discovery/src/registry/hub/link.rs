//! Requests to the hub, and what its answers mean.

use std::{net::SocketAddr, time::Duration};

use axum_core::body::Body;
use bytes::Bytes;
use env::{BoxError, Problem, http::Origin};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use identity::Issuer;

use super::HUB;
use crate::{Error, HttpClient, Result, path};

/// The port of a hub whose address names none.
const PORT: u16 = 7700;
/// How long the hub may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that an answer may hold, in bytes.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// The way to the hub.
pub(super) struct Link {
    http: HttpClient,
    hub: Origin,
    issuer: Option<Issuer>,
}

impl Link {
    pub(super) fn new(url: &str, issuer: Option<Issuer>) -> Result<Self> {
        let invalid = |reason| Error::HubUrl {
            url: url.to_owned(),
            reason,
        };
        let hub = Origin::parse(url, PORT).map_err(|reason| invalid(reason.to_owned()))?;
        Ok(Self {
            http: hub.client().map_err(invalid)?,
            hub,
            issuer,
        })
    }

    /// Where the hub is now.
    pub(super) async fn resolve(&self) -> Result<SocketAddr> {
        let found = env::timeout(PATIENCE, env::net::resolve(self.hub.authority()));
        found.await.map_err(Self::away)?.map_err(Self::away)
    }

    /// The whole answer to a request, where it is a good one.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes> {
        let request = Request::builder()
            .method(method)
            .header(header::CONTENT_TYPE, "application/json");
        let exchange = async {
            let answer = self.send(request, path, body.into()).await?;
            let body = Limited::new(answer.into_body(), ANSWER_LIMIT);
            Ok(body.collect().await.map_err(Self::away)?.to_bytes())
        };
        env::timeout(PATIENCE, exchange).await.map_err(Self::away)?
    }

    /// The answer to a request as soon as it begins, where it is a good one.
    pub(super) async fn send(
        &self,
        request: http::request::Builder,
        path: &str,
        body: Body,
    ) -> Result<Response<Incoming>> {
        let mut request = request
            .uri(format!("{}{path}", self.hub))
            .body(body)
            .map_err(Self::away)?;
        if let Some(issuer) = &self.issuer {
            let bearer = issuer.bearer(HUB).map_err(|source| Error::Token {
                service: HUB.to_owned(),
                source,
            })?;
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        let answer = self.http.request(request).await.map_err(Self::away)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_LIMIT);
        let body = body.collect().await.map_err(Self::away)?.to_bytes();
        let problem: Problem = serde_json::from_slice(&body).map_err(Self::away)?;
        // What a hub in trouble says may be otherwise a moment later; what it says of the request will not be.
        if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
            let problem = Box::new(problem);
            return Err(Error::Refused { problem });
        }
        Err(Self::away(problem))
    }

    /// The hub cannot be reached, or is not itself.
    pub(super) fn away(source: impl Into<BoxError>) -> Error {
        let source = source.into();
        Error::Registry { source }
    }
}

/// A path with `name` in its one `{…}`.
pub(super) fn path(template: &str, name: &str) -> String {
    path::fill(template, &[&name]).expect("each template has one place")
}
