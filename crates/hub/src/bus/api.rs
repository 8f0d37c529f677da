//! The paths of the bus.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use env::Problem;
use events::Bus as _;

use super::wire;
use crate::{
    Error, Hub,
    api::{BODY_LIMIT, Who, own},
    input,
};

/// The most that a batch may hold, in bytes.
const BATCH_LIMIT: usize = 8 * 1024 * 1024;

pub(crate) fn routes() -> Router<Hub> {
    let publish = post(publish).layer(DefaultBodyLimit::max(BATCH_LIMIT));
    let group = Router::new()
        .route("/", delete(forget))
        .route("/leave-out", post(leave_out))
        .route("/members", post(join))
        .route("/members/{member}", delete(leave))
        .route("/members/{member}/pull", post(pull))
        .route("/members/{member}/settle", post(settle))
        .route("/members/{member}/heartbeat", post(heartbeat))
        .route("/rewinds", post(begin_rewind))
        .route("/rewinds/{rewind}", delete(abandon_rewind))
        .route("/rewinds/{rewind}/heartbeat", post(keep_rewind))
        .route("/rewinds/{rewind}/finish", post(finish_rewind))
        .layer(DefaultBodyLimit::max(BODY_LIMIT));
    Router::new()
        .route("/v1/events", publish.get(retention))
        .route("/v1/subscriptions", get(groups))
        .nest("/v1/subscriptions/{group}", group)
}

/// What was sent, where it could be read.
type Sent = Result<Bytes, BytesRejection>;

fn read(sent: Sent) -> Result<Bytes, Problem> {
    sent.map_err(|rejection| {
        let status = rejection.status();
        Problem::new(status, "unreadable-body", rejection.body_text())
    })
}

async fn publish(
    State(hub): State<Hub>,
    who: Who,
    headers: HeaderMap,
    body: Sent,
) -> Result<StatusCode, Problem> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let events = wire::events(kind, &read(body)?)?;
    for event in &events {
        own(&who, &event.source)?;
    }
    let published = hub.0.bus.log().publish(events).await;
    published.map_err(Error::from)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn retention(State(hub): State<Hub>) -> Result<Json<wire::Retention>, Problem> {
    Ok(Json(hub.0.bus.retention().await?))
}

async fn groups(State(hub): State<Hub>) -> Result<Json<wire::Groups>, Problem> {
    Ok(Json(hub.0.bus.groups().await?))
}

async fn forget(
    State(hub): State<Hub>,
    who: Who,
    Path(group): Path<String>,
) -> Result<StatusCode, Problem> {
    own(&who, &group)?;
    hub.0.bus.forget(&group).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn leave_out(
    State(hub): State<Hub>,
    who: Who,
    Path(group): Path<String>,
    body: Sent,
) -> Result<StatusCode, Problem> {
    own(&who, &group)?;
    let types = wire::Types::read(&read(body)?)?.types;
    let left_out = hub.0.bus.log().leave_out(&group, &types).await;
    left_out.map_err(Error::from)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn join(
    State(hub): State<Hub>,
    who: Who,
    Path(group): Path<String>,
    body: Sent,
) -> Result<(StatusCode, Json<wire::Joined>), Problem> {
    input::name("group", &group)?;
    own(&who, &group)?;
    let join = wire::Join::read(&read(body)?)?;
    let joined = hub.0.bus.join(&group, &join).await?;
    Ok((StatusCode::CREATED, Json(joined)))
}

/// The group and the member that a path names, or the rewind.
type One = Path<(String, String)>;

async fn leave(
    State(hub): State<Hub>,
    who: Who,
    Path((group, member)): One,
) -> Result<StatusCode, Problem> {
    own(&who, &group)?;
    hub.0.bus.members.leave(&group, &member);
    Ok(StatusCode::NO_CONTENT)
}

async fn pull(
    State(hub): State<Hub>,
    who: Who,
    Path((group, member)): One,
    body: Sent,
) -> Result<Response, Problem> {
    own(&who, &group)?;
    let session = hub.0.bus.members.find(&group, &member)?;
    let pull = wire::Pull::read(&read(body)?)?;
    let taken = session.pull(&pull).await?;
    let json = wire::deliveries(&taken).map_err(|error| {
        tracing::error!(%error, group, "events cannot be written as JSON");
        Problem::internal()
    })?;
    Ok(([(header::CONTENT_TYPE, wire::MANY)], json).into_response())
}

async fn settle(
    State(hub): State<Hub>,
    who: Who,
    Path((group, member)): One,
    body: Sent,
) -> Result<Json<wire::Settled>, Problem> {
    own(&who, &group)?;
    let session = hub.0.bus.members.find(&group, &member)?;
    let settle = wire::Settle::read(&read(body)?)?;
    Ok(Json(session.settle(&settle).await?))
}

async fn heartbeat(
    State(hub): State<Hub>,
    who: Who,
    Path((group, member)): One,
    body: Sent,
) -> Result<StatusCode, Problem> {
    own(&who, &group)?;
    let session = hub.0.bus.members.find(&group, &member)?;
    let holds = wire::Heartbeat::read(&read(body)?)?.holds();
    session.heartbeat(holds.as_deref()).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn begin_rewind(
    State(hub): State<Hub>,
    who: Who,
    Path(group): Path<String>,
    body: Sent,
) -> Result<(StatusCode, Json<wire::Begun>), Problem> {
    own(&who, &group)?;
    let since = input::json::<wire::Rewind>(&read(body)?)?.since;
    let bus = &hub.0.bus;
    let begun = bus.rewinds.begin(bus.log(), &group, since).await?;
    Ok((StatusCode::CREATED, Json(begun)))
}

async fn keep_rewind(
    State(hub): State<Hub>,
    who: Who,
    Path((group, rewind)): One,
) -> Result<StatusCode, Problem> {
    own(&who, &group)?;
    hub.0.bus.rewinds.heartbeat(&group, &rewind)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn finish_rewind(
    State(hub): State<Hub>,
    who: Who,
    Path((group, rewind)): One,
) -> Result<StatusCode, Problem> {
    own(&who, &group)?;
    hub.0.bus.rewinds.finish(&group, &rewind).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn abandon_rewind(
    State(hub): State<Hub>,
    who: Who,
    Path((group, rewind)): One,
) -> Result<StatusCode, Problem> {
    own(&who, &group)?;
    hub.0.bus.rewinds.abandon(&group, &rewind).await;
    Ok(StatusCode::NO_CONTENT)
}
