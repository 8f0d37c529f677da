//! A user of the system: JSON requests to its gateway.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use env::chain;
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

/// The most that an answer may hold, in bytes.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;
/// How long a user waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes requests to a gateway. Cheap to clone; connections are kept and shared.
#[derive(Clone)]
pub struct GatewayClient {
    gateway: SocketAddr,
    http: discovery::HttpClient,
    headers: Arc<[(String, String)]>,
}

/// What the gateway answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: axum::http::HeaderMap,
    /// The body: JSON, or else its text; null where there is none.
    pub body: Value,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path} got no answer from {gateway}: {reason}")]
pub struct NoAnswer {
    method: Method,
    path: String,
    gateway: SocketAddr,
    reason: String,
}

impl GatewayClient {
    /// A user of the gateway at `gateway`.
    pub fn new(gateway: SocketAddr) -> Self {
        Self {
            gateway,
            http: discovery::http_client(),
            headers: Arc::new([]),
        }
    }

    /// The same user, sending these headers with every request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let added = [(name.to_owned(), value.to_owned())];
        self.headers = self.headers.iter().cloned().chain(added).collect();
        self
    }

    /// Where the gateway is.
    pub fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    /// Gets `path`.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn get(&self, path: &str) -> Result<Answer, NoAnswer> {
        self.request(Method::GET, path, None).await
    }

    /// Posts `body` to `path`.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, NoAnswer> {
        self.request(Method::POST, path, Some(body)).await
    }

    /// Sends a JSON request and reads its answer whole.
    ///
    /// # Errors
    /// [`NoAnswer`] when none came in time, or it broke off.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, NoAnswer> {
        let body = body.map(|json| ("application/json", json.to_string()));
        self.send(method, path, body).await
    }

    /// Sends a request with a body of any media type, and reads its answer whole.
    ///
    /// # Errors
    /// [`NoAnswer`] when none came in time, or it broke off.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
    ) -> Result<Answer, NoAnswer> {
        let failed = |reason: String| NoAnswer {
            method: method.clone(),
            path: path.to_owned(),
            gateway: self.gateway,
            reason,
        };
        let request = self
            .build(&method, path, body)
            .map_err(|error| failed(error.to_string()))?;
        match env::timeout(PATIENCE, self.exchange(request)).await {
            Ok(answer) => answer.map_err(|error| failed(chain(error.as_ref()))),
            Err(_) => Err(failed(format!("it took longer than {PATIENCE:?}"))),
        }
    }

    fn build(
        &self,
        method: &Method,
        path: &str,
        body: Option<(&str, String)>,
    ) -> Result<Request<Body>, axum::http::Error> {
        let uri = format!("http://{}{path}", self.gateway);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in self.headers.iter() {
            request = request.header(name, value);
        }
        match body {
            Some((media_type, text)) => request
                .header(header::CONTENT_TYPE, media_type)
                .body(Body::from(text)),
            None => request.body(Body::empty()),
        }
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Answer, env::BoxError> {
        let (head, body) = self.http.request(request).await?.into_parts();
        let bytes = Limited::new(body, ANSWER_LIMIT).collect().await?.to_bytes();
        let body = match serde_json::from_slice(&bytes) {
            Ok(json) => json,
            Err(_) if bytes.is_empty() => Value::Null,
            Err(_) => String::from_utf8_lossy(&bytes).into(),
        };
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}
