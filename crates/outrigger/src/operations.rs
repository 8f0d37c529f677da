//! The sagas of a service for its operators, over HTTP.
//!
//! Every service answers below `/sagas` where other services call it (the gateway knows no such route), to a token with
//! the permission [`OPERATE`](identity::OPERATE). The id of a saga is one segment of the path: write `/` as `%2F`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /sagas?state=…&limit=…` | those of a state, `parked` if none is named, at most 1000 |
//! | `GET /sagas/{id}` | one, and what happened to it |
//! | `POST /sagas/{id}/retry` | has a parked saga try again |
//! | `POST /sagas/{id}/skip` with `{"step": 5, "reason": "…", "reply": …}` | counts a step as done |
//! | `POST /sagas/{id}/cancel` with `{"reason": "…"}` | ends it and undoes what it did |
//!
//! A reason that is blank is refused like one that is missing: 400 `invalid-request` that names the field.

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

/// The most sagas in one answer.
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
    #[serde(default = "parked")]
    state: saga::State,
    #[serde(default = "some")]
    limit: u32,
}

fn parked() -> saga::State {
    saga::State::Parked
}

fn some() -> u32 {
    100
}

#[derive(Serialize)]
struct Page {
    sagas: Vec<Status>,
}

async fn list(
    State(ctx): State<Context>,
    Query(which): Query<Which>,
) -> Result<Json<Page>, Rejection> {
    let limit = which.limit.min(LIST_LIMIT);
    let sagas = ctx.sagas().list(which.state, limit).await?;
    Ok(Json(Page { sagas }))
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    status: Status,
    timeline: Vec<Event>,
}

async fn show(
    State(ctx): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Rejection> {
    let status = status(&ctx, &id).await?;
    let timeline = ctx.sagas().timeline(&id).await?;
    Ok(Json(Shown { status, timeline }))
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
    match done {
        Ok(()) => status(ctx, id).await.map(Json),
        Err(
            error @ (saga::Error::NotFound { .. }
            | saga::Error::NoReason { .. }
            | saga::Error::Ended { .. }
            | saga::Error::PastReturn { .. }
            | saga::Error::NotWaiting { .. }),
        ) => Err(refused(&error).into()),
        Err(error) => Err(error.into()),
    }
}

async fn status(ctx: &Context, id: &str) -> Result<Status, Rejection> {
    let status = ctx.sagas().status(id).await?;
    let id = id.to_owned();
    Ok(status.ok_or_else(|| refused(&saga::Error::NotFound { id }))?)
}

fn refused(error: &saga::Error) -> Problem {
    let detail = format!("Refused: {error}.");
    match error {
        saga::Error::NoReason { .. } => Problem::invalid_field("reason", detail),
        saga::Error::NotFound { .. } => {
            Problem::new(StatusCode::NOT_FOUND, "saga-not-found", detail)
        }
        _ => Problem::new(StatusCode::CONFLICT, "saga-cannot", detail),
    }
}
