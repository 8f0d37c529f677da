//! What is kept of an answer, and given again.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, response::Parts},
    response::{IntoResponse, Response},
};
use data::idempotency::Answer;
use env::Problem;
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};

use super::REPLAYED;

/// What belongs to one transmission and not to the answer.
const NOT_KEPT: [HeaderName; 4] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::TRANSFER_ENCODING,
];

/// Whether a retry would be given the same. A failure of ours may pass, and so may a limit.
pub(super) fn is_final(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS
}

/// The body of an answer.
pub(super) enum Whole {
    /// All of it.
    Kept(Bytes),
    /// More than is kept, to be passed on.
    TooLarge(Body),
    /// It broke off.
    Broken,
}

/// Reads a body for as long as it can be kept.
pub(super) async fn read(mut body: Body, limit: usize) -> Whole {
    let mut read = Vec::new();
    loop {
        let frame = match body.frame().await {
            None => return Whole::Kept(read.into()),
            Some(Err(_)) => return Whole::Broken,
            Some(Ok(frame)) => frame,
        };
        // Trailers of an answer are not kept.
        if let Ok(part) = frame.into_data() {
            read.extend_from_slice(&part);
        }
        if read.len() > limit {
            let begun = stream::iter([Ok(Bytes::from(read))]);
            return Whole::TooLarge(Body::from_stream(begun.chain(body.into_data_stream())));
        }
    }
}

/// An answer as it is stored.
pub(super) fn stored(head: &Parts, body: &Bytes) -> Answer {
    Answer {
        head: serde_json::json!(Head::of(head.status, &head.headers)).to_string(),
        body: body.to_vec(),
    }
}

/// What is stored in place of an answer that is too large.
pub(super) fn too_large(limit: usize) -> Answer {
    let detail = format!(
        "The request with this Idempotency-Key has been carried out. Its answer was given once and not kept, because it \
         has more than {limit} bytes."
    );
    let problem = Problem::new(StatusCode::CONFLICT, "answer-not-kept", detail);
    let headers = vec![(
        header::CONTENT_TYPE.to_string(),
        env::problem::CONTENT_TYPE.to_owned(),
    )];
    let status = problem.status;
    Answer {
        head: serde_json::json!(Head { status, headers }).to_string(),
        body: serde_json::json!(problem).to_string().into_bytes(),
    }
}

/// The head of an answer as it is stored.
#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let kept = headers.iter().filter(|(name, _)| !NOT_KEPT.contains(name));
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
        Self {
            status: status.as_u16(),
            headers: kept.filter_map(text).collect(),
        }
    }
}

/// A stored answer once more.
pub(super) fn replay(answer: Answer) -> Response {
    let Ok(head) = serde_json::from_str::<Head>(&answer.head) else {
        tracing::error!(
            "an answer in outrigger_idempotency cannot be read; was it changed by hand?"
        );
        return Problem::internal().into_response();
    };
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::OK);
    for (name, value) in head.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    let headers = response.headers_mut();
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
