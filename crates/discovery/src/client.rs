//! JSON calls to a service.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
};

use axum_core::body::Body;
use bytes::Bytes;
use env::{BoxError, Problem, problem};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use identity::Issuer;
use resilience::observe::Observer;
use serde::{Serialize, de::DeserializeOwned};
use telemetry::{Metrics, http::Route};

use tokio::sync::watch;

use crate::{
    Error, Registry, Result, Settings, Upstream,
    path::fill,
    upstream::{self, retry_after},
};

/// The most that an answer may hold, in bytes: 4 MiB.
pub const ANSWER_LIMIT: usize = 4 * 1024 * 1024;

/// Makes clients for services. Cheap to clone; what it makes is shared.
#[derive(Clone)]
pub struct Clients(Arc<Shared>);

struct Shared {
    registry: Arc<dyn Registry>,
    issuer: Option<Arc<Issuer>>,
    configuration: Configuration,
    upstreams: Mutex<BTreeMap<String, Upstream>>,
}

/// How calls are made to each service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policies {
    /// To every service that has no settings of its own.
    pub settings: Settings,
    /// To services by their name, in place of `settings`.
    pub services: BTreeMap<String, Settings>,
}

impl Policies {
    /// How calls to `service` are made.
    pub fn of(&self, service: &str) -> &Settings {
        self.services.get(service).unwrap_or(&self.settings)
    }
}

/// How clients make their calls, and who hears of it.
#[derive(Clone)]
pub struct Configuration {
    /// How calls are made. What is sent here holds from the next call on; calls under way end as they began. What was
    /// learned of the instances stays.
    pub policies: watch::Receiver<Arc<Policies>>,
    /// Who is told of what the layers decide, and of what, as [`Protected`](crate::Protected) reads it.
    pub observer: Option<Arc<dyn Observer>>,
    /// Where it is counted how calls ended, and how long they took.
    pub metrics: Option<Metrics>,
}

impl Configuration {
    /// Calls are always made as `policies` say, and nobody is told.
    pub fn fixed(policies: Policies) -> Self {
        Self {
            policies: watch::Sender::new(Arc::new(policies)).subscribe(),
            observer: None,
            metrics: None,
        }
    }
}

impl Clients {
    /// Clients that find services in `registry`, and show the tokens of `issuer`.
    pub fn new(registry: Arc<dyn Registry>, issuer: Option<Issuer>) -> Self {
        Self::with_settings(registry, issuer, Settings::default())
    }

    /// Clients that make calls to every service as `settings` say.
    pub fn with_settings(
        registry: Arc<dyn Registry>,
        issuer: Option<Issuer>,
        settings: Settings,
    ) -> Self {
        let policies = Policies {
            settings,
            ..Policies::default()
        };
        Self::configured(registry, issuer, Configuration::fixed(policies))
    }

    /// Clients that make calls as `configuration` says.
    pub fn configured(
        registry: Arc<dyn Registry>,
        issuer: Option<Issuer>,
        configuration: Configuration,
    ) -> Self {
        Self(Arc::new(Shared {
            registry,
            issuer: issuer.map(Arc::new),
            configuration,
            upstreams: Mutex::default(),
        }))
    }

    /// All instances of `service`, as one to send requests to.
    pub fn upstream(&self, service: &str) -> Upstream {
        let mut upstreams = self
            .0
            .upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let Configuration {
                policies,
                observer,
                metrics,
            } = self.0.configuration.clone();
            Upstream::new(upstream::Parts {
                service: service.into(),
                instances: self.0.registry.watch(service),
                issuer: self.0.issuer.clone(),
                policies,
                observer,
                metrics,
            })
        };
        upstreams
            .entry(service.to_owned())
            .or_insert_with(make)
            .clone()
    }

    /// A client for `service`.
    pub fn client(&self, service: &str) -> Client {
        Client {
            upstream: self.upstream(service),
        }
    }

    /// Whether an instance of `service` is known.
    pub fn is_known(&self, service: &str) -> bool {
        self.upstream(service).is_known()
    }
}

/// Makes JSON calls to one service. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    upstream: Upstream,
}

impl Client {
    /// Gets what is at `path`, whose `{…}` are filled with `arguments` in their order; `None` for 404.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        arguments: &[&(dyn Display + Sync)],
    ) -> Result<Option<T>> {
        match self.call(Method::GET, path, arguments, Bytes::new()).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::Problem { problem, .. }) if problem.status == StatusCode::NOT_FOUND => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Posts `body`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        arguments: &[&(dyn Display + Sync)],
        body: &B,
    ) -> Result<T> {
        self.send(Method::POST, path, arguments, body).await
    }

    /// Puts `body`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        arguments: &[&(dyn Display + Sync)],
        body: &B,
    ) -> Result<T> {
        self.send(Method::PUT, path, arguments, body).await
    }

    /// Patches with `body`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn patch<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        arguments: &[&(dyn Display + Sync)],
        body: &B,
    ) -> Result<T> {
        self.send(Method::PATCH, path, arguments, body).await
    }

    /// Deletes what is at `path`; an answer without a body is read as `()` or `None`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
        arguments: &[&(dyn Display + Sync)],
    ) -> Result<T> {
        self.call(Method::DELETE, path, arguments, Bytes::new())
            .await
    }

    async fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        arguments: &[&(dyn Display + Sync)],
        body: &B,
    ) -> Result<T> {
        let body = serde_json::to_vec(body).map_err(|error| self.invalid(path, &error))?;
        self.call(method, path, arguments, body.into()).await
    }
}

impl Client {
    /// Makes the call within the caller's deadline, which holds for the body of the answer too.
    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        arguments: &[&(dyn Display + Sync)],
        body: Bytes,
    ) -> Result<T> {
        let (context, deadline) = self.upstream.context(&method, path);
        let remaining = deadline.saturating_duration_since(env::instant());
        let call = context.scope(Box::pin(self.exchange(method, path, arguments, body)));
        env::timeout(remaining, call)
            .await
            .unwrap_or_else(|_| Err(self.upstream.late()))
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        arguments: &[&(dyn Display + Sync)],
        body: Bytes,
    ) -> Result<T> {
        let uri = fill(path, arguments).map_err(|mismatch| self.invalid(path, &mismatch))?;
        let mut request = Request::builder()
            .method(method.clone())
            .uri(&uri)
            .extension(Route(path.into()))
            .header(header::ACCEPT, "application/json");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Body::from(body))
            .map_err(|error| self.invalid(path, &error))?;
        let answer = self.upstream.send(request).await?;
        let status = answer.status();
        let undecodable = |source: BoxError| Error::Undecodable {
            service: self.upstream.service().to_owned(),
            method: method.clone(),
            path: uri.clone(),
            status,
            source,
        };
        let is_problem = is_problem(&answer);
        let retry_after = retry_after(answer.headers());
        let bytes = Limited::new(answer.into_body(), ANSWER_LIMIT)
            .collect()
            .await
            .map_err(&undecodable)?
            .to_bytes();
        if status.is_success() {
            let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
            return serde_json::from_slice(bytes).map_err(|error| undecodable(error.into()));
        }
        let problem = is_problem
            .then(|| serde_json::from_slice(&bytes).ok())
            .flatten();
        let mut problem = problem.unwrap_or_else(|| {
            Problem::new(
                status,
                "unexpected-status",
                format!("The answer was {status}."),
            )
        });
        problem.retry_after = retry_after;
        Err(Error::Problem {
            service: self.upstream.service().to_owned(),
            problem: Box::new(problem),
        })
    }

    fn invalid(&self, path: &str, reason: &dyn Display) -> Error {
        Error::InvalidRequest {
            service: self.upstream.service().to_owned(),
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

fn is_problem<B>(answer: &Response<B>) -> bool {
    let content_type = answer.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| {
        value
            .as_bytes()
            .starts_with(problem::CONTENT_TYPE.as_bytes())
    })
}
