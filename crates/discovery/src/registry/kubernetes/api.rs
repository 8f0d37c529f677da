//! Requests to the API server, and what its answers mean.

use std::{path::PathBuf, time::Duration};

use axum_core::body::Body;
use env::{BoxError, http::Origin};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;

use super::{
    Cluster,
    slices::{EndpointSlice, Metadata},
};
use crate::{Error, HttpClient, Result, path};

/// The port of an API server whose URL names none.
const PORT: u16 = 80;
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most that an answer may hold, in bytes.
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;
/// How many slices are asked for at once, and the most of all.
const PAGE: usize = 500;
const MOST: usize = 20_000;
/// For how long a watch is asked for. The API server ends it then.
pub(super) const WATCH: Duration = Duration::from_secs(300);

/// The EndpointSlices of a namespace.
pub(super) struct Api {
    http: HttpClient,
    server: Origin,
    token: Option<PathBuf>,
    namespace: String,
}

/// All slices, and the version of which they are that.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    metadata: Metadata,
    pub(super) items: Vec<EndpointSlice>,
}

impl List {
    pub(super) fn version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }
}

/// What the API server says where it does not do what was asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) code: u16,
    pub(super) message: String,
}

impl Api {
    pub(super) fn new(cluster: &Cluster, namespace: Option<&str>) -> Result<Self> {
        let unusable = |reason: String| Error::NoCluster { reason };
        let server = Origin::parse(&cluster.url, PORT)
            .map_err(|reason| unusable(format!("{}: {reason}", cluster.url)))?
            .trusting(cluster.authorities.clone());
        Ok(Self {
            http: server.client().map_err(unusable)?,
            server,
            token: cluster.token.clone(),
            namespace: namespace.unwrap_or(&cluster.namespace).to_owned(),
        })
    }

    /// The slices of `service`, or of all.
    pub(super) async fn list(&self, service: Option<&str>) -> Result<List> {
        let mut all: Option<List> = None;
        loop {
            let next = all.as_ref().and_then(|it| it.metadata.next.as_deref());
            let mut query = format!("?limit={PAGE}{}", selecting(service));
            if let Some(next) = next {
                query += &filled("&continue={next}", next);
            }
            let page = env::timeout(PATIENCE, self.page(&query)).await;
            let page = page.map_err(away)??;
            let all = match &mut all {
                None => all.insert(page),
                Some(all) => {
                    all.items.extend(page.items);
                    all.metadata = page.metadata;
                    all
                }
            };
            let more = all
                .metadata
                .next
                .as_deref()
                .is_some_and(|it| !it.is_empty());
            if !more || all.items.len() >= MOST {
                break;
            }
        }
        all.ok_or_else(|| away("it lists nothing"))
    }

    async fn page(&self, query: &str) -> Result<List> {
        let answer = self.send(query).await?;
        let answer = answer.map_err(|status| self.refused(status))?;
        let body = Limited::new(answer.into_body(), ANSWER_LIMIT);
        let body = body.collect().await.map_err(away)?.to_bytes();
        serde_json::from_slice(&body).map_err(away)
    }

    /// The changes of the slices of `service` behind `version`, as lines of JSON; or why there are none.
    pub(super) async fn watch(
        &self,
        service: &str,
        version: &str,
    ) -> Result<Result<Incoming, Status>> {
        let query = format!(
            "?watch=true&allowWatchBookmarks=true&timeoutSeconds={}{}{}",
            WATCH.as_secs(),
            filled("&resourceVersion={version}", version),
            selecting(Some(service)),
        );
        let answer = env::timeout(PATIENCE, self.send(&query)).await;
        Ok(answer.map_err(away)??.map(Response::into_body))
    }

    /// The answer as soon as it begins, where it is a good one; otherwise what the API server says.
    async fn send(&self, query: &str) -> Result<Result<Response<Incoming>, Status>> {
        let namespace = &self.namespace;
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
        let mut request = Request::get(format!("{}{path}{query}", self.server))
            .header(header::ACCEPT, "application/json")
            .body(Body::empty())
            .map_err(away)?;
        if let Some(file) = &self.token {
            let token = std::fs::read_to_string(file).map_err(away)?;
            let bearer = format!("Bearer {}", token.trim());
            let mut bearer = HeaderValue::try_from(bearer).map_err(away)?;
            bearer.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
        let answer = self.http.request(request).await.map_err(away)?;
        let code = answer.status();
        if code.is_success() {
            return Ok(Ok(answer));
        }
        let body = Limited::new(answer.into_body(), ANSWER_LIMIT);
        let body = body.collect().await.map_err(away)?.to_bytes();
        // What stands between may refuse in words of its own.
        let status: Status = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Err(Status {
            code: code.as_u16(),
            ..status
        }))
    }

    /// What it means that the API server answered so.
    pub(super) fn refused(&self, Status { code, message }: Status) -> Error {
        if code == StatusCode::FORBIDDEN.as_u16() {
            return Error::Forbidden {
                namespace: self.namespace.clone(),
                message,
            };
        }
        away(format!("it answers {code}: {message}"))
    }
}

/// The API server cannot be reached, or does not do what it should.
pub(super) fn away(source: impl Into<BoxError>) -> Error {
    let source = source.into();
    Error::Registry { source }
}

fn selecting(service: Option<&str>) -> String {
    service.map_or_else(String::new, |service| {
        filled(
            "&labelSelector=kubernetes.io%2Fservice-name%3D{service}",
            service,
        )
    })
}

fn filled(template: &str, value: &str) -> String {
    path::fill(template, &[&value]).expect("each template has one place")
}
