//! The paths of the hub.

use axum::{
    Extension, Json, Router,
    body::{Body, Bytes},
    extract::{
        DefaultBodyLimit, Path, Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use discovery::{
    Instance, Registry,
    registry::{KEEP_ALIVE, Known, Listed, Page},
};
use env::{Problem, Timestamp};
use identity::{CALL, Caller, OPERATE, RequireToken};
use serde::{Deserialize, Serialize};

use crate::{Error, Hub, bus, input};

/// The most that the body of a request may hold, in bytes.
pub(crate) const BODY_LIMIT: usize = 64 * 1024;
/// How many instances are on a page.
const PAGE_SIZE: usize = 1000;

const OPENAPI: &str = include_str!("openapi.json");

pub(crate) fn routes(hub: Hub) -> Router {
    let verifier = hub.0.verifier.clone();
    let instance = put(register).delete(deregister);
    let mut closed = Router::new()
        .route("/v1/registry/instances", get(list))
        .route("/v1/registry/instances/{id}", instance)
        .route("/v1/registry/instances/{id}/heartbeat", post(heartbeat))
        .route("/v1/registry/services", get(services))
        .route("/v1/registry/services/{service}/watch", get(watch))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .merge(bus::routes())
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .with_state(hub.clone());
    if let Some(verifier) = verifier {
        closed = closed.layer(RequireToken::new(verifier, CALL));
    }
    // Probes and whoever wants to read how it is called carry no token.
    closed
        .merge(Router::new().route("/health", get(health)).with_state(hub))
        .route("/openapi.json", get(openapi))
}

/// Who calls, where the hub asks for tokens.
pub(crate) type Who = Option<Extension<Caller>>;

/// Whether the caller may act for `service`: change an instance of it, publish its events, be a member of its group.
pub(crate) fn own(who: &Who, service: &str) -> Result<(), Problem> {
    match who {
        Some(Extension(caller)) if caller.service != service && !caller.may(OPERATE) => {
            let detail = format!("{} has no say over {service}.", caller.service);
            Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
        }
        _ => Ok(()),
    }
}

async fn register(
    State(hub): State<Hub>,
    who: Who,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    let body = body.map_err(|rejection| {
        let status = rejection.status();
        Problem::new(status, "unreadable-body", rejection.body_text())
    })?;
    let instance = input::instance(&id, &body)?;
    own(&who, &instance.service)?;
    match hub.0.registry.register(instance).await? {
        true => Ok(StatusCode::CREATED),
        false => Ok(StatusCode::OK),
    }
}

async fn heartbeat(
    State(hub): State<Hub>,
    who: Who,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let registry = &hub.0.registry;
    if let Some(instance) = registry.memory().find(&id) {
        own(&who, &instance.service)?;
    }
    if registry.heartbeat(&id).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    let detail = format!("There is no instance {id}; register it again.");
    Err(Problem::new(
        StatusCode::NOT_FOUND,
        "unknown-instance",
        detail,
    ))
}

async fn deregister(
    State(hub): State<Hub>,
    who: Who,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let registry = &hub.0.registry;
    if let Some(instance) = registry.memory().find(&id) {
        own(&who, &instance.service)?;
    }
    registry.deregister(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Wanted {
    service: Option<String>,
    #[serde(default)]
    after: String,
}

async fn list(
    State(hub): State<Hub>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let Query(wanted) =
        wanted.map_err(|rejection| Problem::invalid_field("(query)", rejection.body_text()))?;
    let memory = hub.0.registry.memory();
    let mut found = memory.list(wanted.service.as_deref(), &wanted.after, PAGE_SIZE + 1);
    let more = found.len() > PAGE_SIZE;
    found.truncate(PAGE_SIZE);
    let last = found.last().map(|known| known.instance.id.clone());
    Ok(Json(Page {
        instances: found.into_iter().map(listed).collect(),
        next: last.filter(|_| more),
    }))
}

fn listed(known: Known) -> Listed {
    let heard = env::now().checked_sub(known.silence);
    Listed {
        instance: Instance::clone(&known.instance),
        last_heartbeat: heard.unwrap_or(Timestamp::MIN),
    }
}

#[derive(Serialize)]
struct Services {
    services: Vec<String>,
}

async fn services(State(hub): State<Hub>) -> Result<Json<Services>, Problem> {
    let services = hub.0.registry.memory().services().await;
    let services = services.map_err(Error::from)?;
    Ok(Json(Services { services }))
}

async fn watch(
    State(hub): State<Hub>,
    Path(service): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = headers.get("last-event-id");
    let last = last.and_then(|id| id.to_str().ok()).unwrap_or_default();
    let watchers = &hub.0.watchers;
    let events = watchers.watch(&service, last)?;
    let kind = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let keep_alive = watchers.keep_alive().as_millis().to_string();
    Ok((kind, [(KEEP_ALIVE, keep_alive)], events).into_response())
}

async fn health(State(hub): State<Hub>) -> Result<Body, Problem> {
    hub.0.registry.ping().await?;
    Ok(Body::from("up"))
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn unknown_route(uri: Uri) -> Problem {
    let detail = format!("There is nothing at {}.", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "route-not-found", detail).at(uri.path())
}

async fn unknown_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}.", uri.path());
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Problem::new(status, "method-not-allowed", detail).at(uri.path())
}
