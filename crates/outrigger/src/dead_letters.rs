//! What a service could not handle, for its operators: over HTTP, and for a program beside the system.
//!
//! Every service answers below `/dead-letters` where other services call it (the gateway knows no such route), to a
//! token with the permission [`OPERATE`](identity::OPERATE).
//!
//! | request | answer |
//! |---|---|
//! | `GET /dead-letters?type=…&id=…&group=…&expired=true&limit=…&after=…` | a page of them, and where the next begins |
//! | `GET /dead-letters/{id}` | one |
//! | `POST /dead-letters/{id}/replay` | tries it again; with a body `{"data": …}` with other data |
//! | `POST /dead-letters/replay?type=…` | tries all of a type again |
//! | `DELETE /dead-letters/{id}`, `DELETE /dead-letters?type=…` | gives up one, or all of a type |
//!
//! What is asked of all must name a type, a group or an id: nothing is replayed or dropped by leaving something out.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use env::Problem;
use events::{
    DeadLetter, DeadLetters,
    dead_letters::{Cursor, Filter, Page},
};
use identity::{RequireToken, Verifier};
use serde::{Deserialize, Serialize};

use crate::{
    Context, Rejection, Result, Settings, System,
    extract::{Path, Query},
    operator::{Access, databases},
};

/// How many are on a page that does not say.
const PAGE: u32 = 100;

/// The dead letters of the services of `system` whose databases `settings` name, or of `only` one of them.
///
/// # Errors
/// As [`databases`].
pub async fn open(
    system: &System,
    settings: &Settings,
    only: Option<&str>,
    access: Access,
) -> Result<BTreeMap<String, DeadLetters>> {
    let databases = databases(system, settings, only, access).await?;
    let letters = databases
        .into_iter()
        .map(|(name, db)| (name, DeadLetters::of(&db)));
    Ok(letters.collect())
}

pub(crate) fn routes(context: Context, verifier: Verifier) -> Router {
    let one = get(show).delete(drop_one);
    Router::new()
        .route("/dead-letters", get(list).delete(drop_all))
        .route("/dead-letters/replay", post(replay_all))
        .route("/dead-letters/{id}", one)
        .route("/dead-letters/{id}/replay", post(replay_one))
        .with_state(context)
        .layer(RequireToken::new(verifier, identity::OPERATE))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    group: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    #[serde(default)]
    expired: bool,
    after: Option<Cursor>,
    limit: Option<u32>,
}

impl Wanted {
    fn filter(&self) -> Filter {
        Filter {
            group: self.group.clone(),
            kind: self.kind.clone(),
            id: self.id.clone(),
            expired: self.expired,
        }
    }

    /// The filter of a request that changes something.
    fn some(&self) -> Result<Filter, Rejection> {
        let filter = self.filter();
        if filter == Filter::default() {
            let detail = "Say which dead letters: `type`, `group` or `id`.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "no-filter", detail).into());
        }
        Ok(filter)
    }
}

/// What an edited replay brings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    data: serde_json::Value,
}

#[derive(Serialize)]
struct Replayed {
    replayed: u64,
}

#[derive(Serialize)]
struct Dropped {
    dropped: u64,
}

fn of(context: &Context) -> DeadLetters {
    DeadLetters::of(context.db())
}

async fn list(
    State(context): State<Context>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page>, Rejection> {
    let limit = wanted.limit.unwrap_or(PAGE);
    let filter = wanted.filter();
    let page = of(&context)
        .list(&filter, wanted.after.as_ref(), limit)
        .await?;
    Ok(Json(page))
}

async fn show(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<DeadLetter>, Rejection> {
    let letter = of(&context).show(&id).await.map_err(missing)?;
    Ok(Json(letter))
}

async fn replay_one(
    State(context): State<Context>,
    Path(id): Path<String>,
    edit: Option<Json<Edit>>,
) -> Result<Json<Replayed>, Rejection> {
    let letters = of(&context);
    let replayed = match edit {
        Some(Json(edit)) => {
            letters
                .replay_edited(&id, edit.data)
                .await
                .map_err(missing)?;
            1
        }
        None => found(&id, letters.replay(&Filter::id(&id)).await?)?,
    };
    Ok(Json(Replayed { replayed }))
}

async fn replay_all(
    State(context): State<Context>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Replayed>, Rejection> {
    let replayed = of(&context).replay(&wanted.some()?).await?;
    Ok(Json(Replayed { replayed }))
}

async fn drop_one(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<Json<Dropped>, Rejection> {
    let dropped = found(&id, of(&context).drop(&Filter::id(&id)).await?)?;
    Ok(Json(Dropped { dropped }))
}

async fn drop_all(
    State(context): State<Context>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Dropped>, Rejection> {
    let dropped = of(&context).drop(&wanted.some()?).await?;
    Ok(Json(Dropped { dropped }))
}

fn found(id: &str, count: u64) -> Result<u64, Rejection> {
    match count {
        0 => Err(missing(events::Error::NoDeadLetter { id: id.to_owned() })),
        count => Ok(count),
    }
}

fn missing(error: events::Error) -> Rejection {
    match error {
        events::Error::NoDeadLetter { id } => {
            let detail = format!("There is no dead letter {id}.");
            Problem::new(StatusCode::NOT_FOUND, "dead-letter-not-found", detail).into()
        }
        events::Error::TooLarge { size, limit, .. } => {
            let detail = format!("The event would have {size} bytes, at most {limit} are carried.");
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            Problem::new(status, "event-too-large", detail).into()
        }
        error => error.into(),
    }
}
