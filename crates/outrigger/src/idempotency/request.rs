//! What a request with a key is known by.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, request::Parts},
};
use data::idempotency::Request;
use env::{Problem, request::IDEMPOTENCY_KEY};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use identity::Caller;
use sha2::{Digest, Sha256};

/// The longest key, in characters.
pub const KEY_MAX: usize = 255;

/// Who asks for what, with which key.
pub(super) fn identify(parts: &Parts, body: &[u8]) -> Result<Request, Problem> {
    let caller = parts.extensions.get::<Caller>();
    Ok(Request {
        scope: caller.map_or_else(String::new, |caller| caller.service.clone()),
        key: key(&parts.headers)?,
        fingerprint: fingerprint(parts, body),
    })
}

/// The key, as a bare text or as a string of structured fields (RFC 9651): `"8e03…"`.
fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut all = headers.get_all(IDEMPOTENCY_KEY).iter();
    let text = all.next().and_then(|value| value.to_str().ok());
    let text = text.unwrap_or_default().trim();
    let quoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let key = quoted.unwrap_or(text);
    let legal = key
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if all.next().is_some() || !legal || !(1..=KEY_MAX).contains(&key.len()) {
        let detail = format!(
            "An Idempotency-Key is one text of 1 to {KEY_MAX} visible ASCII characters, such as a UUID, bare or in \
             quotation marks."
        );
        let status = StatusCode::BAD_REQUEST;
        return Err(Problem::new(status, "invalid-idempotency-key", detail));
    }
    Ok(key.to_owned())
}

/// What makes a request this one and no other.
fn fingerprint(parts: &Parts, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    let target = parts.uri.path_and_query();
    let target = target.map_or("", |target| target.as_str());
    for part in [parts.method.as_str().as_bytes(), target.as_bytes(), body] {
        // With its length, so that no part can pass for the end of another.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The whole body of a request, which may have at most `limit` bytes.
pub(super) async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The body is larger than this service takes.",
        )),
        Err(_) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "unreadable-body",
            "The body broke off before its end.",
        )),
    }
}

pub(super) fn mismatch() -> Problem {
    let detail = "This Idempotency-Key came with another request before: give every request a key of its own.";
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Problem::new(status, "idempotency-key-reused", detail)
}
