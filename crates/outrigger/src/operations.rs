//! The sagas of a service for its operators, over HTTP.
//!
//! Every service answers below `/sagas` where other services call it (the gateway knows no such route), to a token with
//! the permission [`OPERATE`](identity::OPERATE). The id of a saga is one segment of the path: write `/` as `%2F`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /sagas?state=…&limit=…` | those of a state; if none is named, what is `parked`, then what is `compensating`; at most 1000 of each |
//! | `GET /sagas/{id}` | one, what it was started with, and what happened to it |
//! | `POST /sagas/{id}/retry` | has a parked saga try again |
//! | `POST /sagas/{id}/skip` with `{"step": 5, "reason": "…", "reply": …}` | counts a step as done |
//! | `POST /sagas/{id}/cancel` with `{"reason": "…"}` | ends it and undoes what it did |
//!
//! What cannot be done is answered with a problem, by whose type a program tells why:
//!
//! | problem | status | why |
//! |---|---|---|
//! | `invalid-request` | 400 | the member `field` is wrong: a `reason` that is missing or blank, a `limit` of 0 |
//! | `saga-not-found` | 404 | there is no saga with this id |
//! | `saga-ended` | 409 | it has ended, and nothing changes it any more |
//! | `saga-past-return` | 409 | it is to be cancelled and can only go forward: retry it, or skip the step that hangs |
//! | `saga-not-waiting` | 409 | it does not wait for the step that is to be skipped |

use std::{num::NonZeroU32, slice};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use env::Problem;
use identity::{RequireToken, Verifier};
use saga::{Event, Status};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Context, Rejection,
    extract::{Json, Path, Query},
};

/// How many of a state are in an answer to a request that does not say.
const PAGE: NonZeroU32 = NonZeroU32::new(100).expect("it is not 0");
/// The most sagas of a state in one answer.
const LIST_LIMIT: u32 = 1000;

pub(crate) fn routes(context: Context, verifier: Verifier) -> Router {
    Router::new()
        .route("/sagas", get(list))
        .route("/sagas/{id}", get(show))
        .route("/sagas/{id}/retry", post(retry))
        .route("/sagas/{id}/skip", post(skip))
        .route("/sagas/{id}/cancel", post(cancel))
        .with_state(context)
        .layer(RequireToken::new(verifier, identity::OPERATE))
}

#[derive(Deserialize)]
struct Which {
    state: Option<saga::State>,
    #[serde(default = "page")]
    limit: NonZeroU32,
}

fn page() -> NonZeroU32 {
    PAGE
}

#[derive(Serialize)]
struct Page {
    sagas: Vec<Status>,
}

async fn list(
    State(ctx): State<Context>,
    Query(which): Query<Which>,
) -> Result<Json<Page>, Rejection> {
    let limit = which.limit.get().min(LIST_LIMIT);
    let states = which
        .state
        .as_ref()
        .map_or(&saga::State::TROUBLED[..], slice::from_ref);
    let mut sagas = Vec::new();
    for state in states {
        sagas.extend(ctx.sagas().list(*state, limit).await?);
    }
    Ok(Json(Page { sagas }))
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    status: Status,
    input: Option<Value>,
    timeline: Vec<Event>,
}

async fn show(
    State(ctx): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Rejection> {
    let status = status(&ctx, &id).await?;
    let input = ctx.sagas().input(&id).await?;
    let timeline = ctx.sagas().timeline(&id).await?;
    Ok(Json(Shown {
        status,
        input,
        timeline,
    }))
}

async fn retry(
    State(ctx): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<Status>, Rejection> {
    let done = ctx.sagas().resume(&id).await;
    acted(&ctx, &id, done).await
}

#[derive(Deserialize)]
struct Skip {
    step: u32,
    reason: String,
    #[serde(default)]
    reply: Value,
}

async fn skip(
    State(ctx): State<Context>,
    Path(id): Path<String>,
    Json(Skip {
        step,
        reason,
        reply,
    }): Json<Skip>,
) -> Result<Json<Status>, Rejection> {
    let done = ctx.sagas().skip(&id, step, &reason, reply).await;
    acted(&ctx, &id, done).await
}

#[derive(Deserialize)]
struct Cancel {
    reason: String,
}

async fn cancel(
    State(ctx): State<Context>,
    Path(id): Path<String>,
    Json(Cancel { reason }): Json<Cancel>,
) -> Result<Json<Status>, Rejection> {
    let done = ctx.sagas().cancel(&id, &reason).await;
    acted(&ctx, &id, done).await
}

/// How the saga is when that is written down. What follows from it comes in its own time.
async fn acted(ctx: &Context, id: &str, done: saga::Result<()>) -> Result<Json<Status>, Rejection> {
    done.map_err(rejection)?;
    status(ctx, id).await.map(Json)
}

async fn status(ctx: &Context, id: &str) -> Result<Status, Rejection> {
    let status = ctx.sagas().status(id).await?;
    let id = id.to_owned();
    status.ok_or_else(|| rejection(saga::Error::NotFound { id }))
}

fn rejection(error: saga::Error) -> Rejection {
    let (status, kind) = match error {
        saga::Error::NoReason { .. } => {
            return Problem::invalid_field("reason", refused(&error)).into();
        }
        saga::Error::NotFound { .. } => (StatusCode::NOT_FOUND, "saga-not-found"),
        saga::Error::Ended { .. } => (StatusCode::CONFLICT, "saga-ended"),
        saga::Error::PastReturn { .. } => (StatusCode::CONFLICT, "saga-past-return"),
        saga::Error::NotWaiting { .. } => (StatusCode::CONFLICT, "saga-not-waiting"),
        error => return error.into(),
    };
    Problem::new(status, kind, refused(&error)).into()
}

fn refused(error: &saga::Error) -> String {
    format!("Refused: {error}.")
}
