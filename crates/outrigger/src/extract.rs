//! Extractors that answer wrong input with a problem document naming the field that is wrong.

use axum::{
    RequestExt,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use env::Problem;
use serde::{Serialize, de::DeserializeOwned};

/// A JSON body, both ways.
///
/// 415 when the request says that its body is something else, 413 past the body limit, 400 naming the field
/// when the body does not fit `T`.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(&request) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The body must be JSON: send it with content-type: application/json.",
            ));
        }
        let body: Bytes = request
            .extract()
            .await
            .map_err(|rejection: BytesRejection| {
                let status = rejection.status();
                if status == StatusCode::PAYLOAD_TOO_LARGE {
                    Problem::new(
                        status,
                        "body-too-large",
                        "The body is larger than this service takes.",
                    )
                } else {
                    Problem::new(
                        status,
                        "unreadable-body",
                        "The body broke off before its end.",
                    )
                }
            })?;
        read(&mut serde_json::Deserializer::from_slice(&body)).map(Self)
    }
}

fn is_json(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let Some(value) = content_type.and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn read<'de, T: DeserializeOwned, R: serde_json::de::Read<'de>>(
    json: &mut serde_json::Deserializer<R>,
) -> Result<T, Problem> {
    let value = serde_path_to_error::deserialize(&mut *json).map_err(|error| {
        let at = error.path().to_string();
        let at = if at == "." { String::new() } else { at };
        let cause = error.into_inner();
        if cause.is_syntax() || cause.is_eof() {
            return Problem::new(
                StatusCode::BAD_REQUEST,
                "malformed-json",
                format!("The body is not JSON: {cause}."),
            );
        }
        let reason = without_position(&cause.to_string());
        Problem::invalid_field(&field(&at, &reason), format!("{}.", sentence(&reason)))
    })?;
    json.end().map(|()| value).map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "malformed-json",
            "The body goes on after its JSON value.",
        )
    })
}

/// A missing field is reported at its parent; it is named in the reason.
fn field(at: &str, reason: &str) -> String {
    let missing = reason
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next());
    match (missing, at) {
        (Some(missing), "") => missing.to_owned(),
        (Some(missing), parent) => format!("{parent}.{missing}"),
        (None, "") => "(body)".to_owned(),
        (None, at) => at.to_owned(),
    }
}

fn without_position(reason: &str) -> String {
    reason
        .split(" at line ")
        .next()
        .unwrap_or(reason)
        .to_owned()
}

fn sentence(reason: &str) -> String {
    let mut text = reason.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// The query string; 400 when it does not fit `T`.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let text = rejection.body_text();
                let reason = text
                    .split_once(": ")
                    .map_or(text.as_str(), |(_, reason)| reason);
                let (at, reason) = reason.split_once(": ").unwrap_or(("", reason));
                Err(Problem::invalid_field(
                    &field(at, reason),
                    format!("{}.", sentence(reason)),
                ))
            }
        }
    }
}

/// The parameters of the path; 400 when they do not fit `T`.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(Problem::invalid_field(
                "(path)",
                format!("{}.", sentence(&rejection.body_text())),
            )),
        }
    }
}
