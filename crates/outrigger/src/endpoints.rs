//! What every service answers beside its own API: `/health`, `/ready` and `/metrics`.

use std::{
    collections::BTreeMap,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use env::chain;
use serde::Serialize;

use crate::Context;

/// What the database says of its outbox and inbox, now.
async fn measure(context: &Context) -> events::Result<()> {
    let (db, metrics) = (context.db(), context.metrics());
    let outbox = db.outbox_status().await?;
    let lag = outbox
        .oldest
        .map(|oldest| env::now().duration_since(oldest));
    let lag = lag.map_or(Duration::ZERO, |lag| {
        Duration::try_from(lag).unwrap_or_default()
    });
    metrics.outbox_backlog(outbox.unsent);
    metrics.outbox_lag(lag);
    metrics.outbox_refused(outbox.refused);
    metrics.missing_events(events::sequence::missing(db).await?);
    Ok(())
}

/// Whether a service takes requests; false before it has started and from the moment that it stops.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub(crate) fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether the service takes requests.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

pub(crate) fn routes(context: Context, readiness: Readiness) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state((context, readiness))
}

/// `/health` and `/ready` of the gateway. Its figures are not for everybody who can reach it.
pub(crate) fn gateway_routes(name: &'static str, readiness: Readiness) -> Router {
    let status = move |status| {
        axum::Json(Status {
            status,
            service: name.to_owned(),
            version: String::new(),
            dependencies: BTreeMap::new(),
        })
    };
    let ready = move || async move {
        match readiness.is_ready() {
            true => (StatusCode::OK, status("ready")),
            false => (StatusCode::SERVICE_UNAVAILABLE, status("not ready")),
        }
    };
    Router::new()
        .route("/health", get(move || async move { status("up") }))
        .route("/ready", get(ready))
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
    service: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    dependencies: BTreeMap<String, &'static str>,
}

type Shared = State<(Context, Readiness)>;

async fn health(State((context, _)): Shared) -> axum::Json<Status> {
    axum::Json(Status {
        status: "up",
        service: context.service().to_owned(),
        version: context.version().to_owned(),
        dependencies: BTreeMap::new(),
    })
}

async fn ready(State((context, readiness)): Shared) -> Response {
    let database = context.db().ping().await.is_ok();
    let ready = readiness.is_ready() && database;
    let mut dependencies = BTreeMap::from([("database".to_owned(), state(database))]);
    for (service, found) in context.dependencies() {
        dependencies.insert(service, state(found));
    }
    let status = Status {
        status: if ready { "ready" } else { "not ready" },
        service: context.service().to_owned(),
        version: context.version().to_owned(),
        dependencies,
    };
    let code = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, axum::Json(status)).into_response()
}

fn state(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

async fn metrics(State((context, _)): Shared) -> Response {
    if let Err(error) = measure(&context).await {
        // Then the figures are those of the last time.
        tracing::debug!(error = chain(&error), "cannot measure the database");
    }
    let text = context.metrics().render();
    (
        [(header::CONTENT_TYPE, telemetry::metrics::CONTENT_TYPE)],
        text,
    )
        .into_response()
}
