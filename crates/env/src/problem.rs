//! RFC 9457 problem details: the one form of an error on the wire.
//!
//! A problem never carries a stack, SQL or the text of an internal error: what a client may know is in
//! `detail`, the rest is in the log under the same correlation id.

use std::{collections::BTreeMap, fmt};

use axum_core::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::request::RequestContext;

/// The media type of a problem document.
pub const CONTENT_TYPE: &str = "application/problem+json";
/// What every problem's `type` begins with.
pub const TYPE_BASE: &str = "https://outrigger.dev/problems/";

/// Why a request was not fulfilled.
///
/// ```
/// # use outrigger_env::Problem;
/// # use http::StatusCode;
/// let problem = Problem::new(StatusCode::NOT_FOUND, "user-not-found", "There is no user 42.");
/// assert_eq!(problem.kind(), "user-not-found");
/// assert_eq!(problem.title, "User not found");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What kind of problem it is: a stable URI.
    #[serde(rename = "type", default = "blank")]
    pub kind_uri: String,
    /// The kind in words.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What happened to this request.
    #[serde(default)]
    pub detail: String,
    /// The path that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What to look for in logs and traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Further members, such as `field` for the part of the input that is wrong.
    #[serde(flatten)]
    pub members: BTreeMap<String, serde_json::Value>,
    /// Seconds after which to try again; sent as the `Retry-After` header.
    #[serde(skip)]
    pub retry_after: Option<u64>,
}

fn blank() -> String {
    "about:blank".to_owned()
}

impl Problem {
    /// A problem of the kebab-case `kind`, whose title is the same in words.
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        let mut title = kind.replace('-', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self {
            kind_uri: format!("{TYPE_BASE}{kind}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            instance: None,
            correlation_id: None,
            members: BTreeMap::new(),
            retry_after: None,
        }
    }

    /// 500 with nothing said: the cause belongs in the log.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal-error",
            "Something went wrong on our side. The correlation id finds it in the logs.",
        )
    }

    /// 400 that names the part of the input that is wrong, such as `items[0].quantity`.
    pub fn invalid_field(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", detail).with("field", field)
    }

    /// Adds a member.
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Says which path was asked for.
    pub fn at(mut self, instance: &str) -> Self {
        self.instance = Some(instance.to_owned());
        self
    }

    /// Says after how many seconds to try again.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The kebab-case kind: the last segment of `type`.
    pub fn kind(&self) -> &str {
        self.kind_uri.rsplit('/').next().unwrap_or_default()
    }

    /// The status, or 500 where the document holds none that HTTP knows.
    pub fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.title, self.detail)
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        self.correlation_id
            .get_or_insert_with(|| RequestContext::current().correlation_id);
        // Strings, numbers and a map of JSON values: serializing them cannot fail.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status_code();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
