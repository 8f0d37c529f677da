//! What every service answers beside its own API: `/health`, `/ready` and `/metrics`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use env::{BoxError, chain};
use events::{Bus, DeadLetters};
use serde::Serialize;
use telemetry::Metrics;

use crate::Context;

/// How long the bus may take to answer a probe, which is itself waited for for a second at most.
const BUS_PATIENCE: Duration = Duration::from_millis(500);

/// What the database says of its outbox, its inbox and its sagas, now.
async fn measure(context: &Context) -> Result<(), BoxError> {
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
    let backlog = DeadLetters::of(db).backlog().await?;
    metrics.deferred_events(backlog.deferred);
    metrics.dead_letters(backlog.dead);
    metrics.missing_events(events::sequence::missing(db).await?);
    for (state, sagas) in context.sagas().unended().await? {
        metrics.sagas(state.as_str(), sagas);
    }
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

/// What a service needs to be ready, and what it can do without for a while.
#[derive(Clone)]
pub(crate) struct Probes {
    pub(crate) context: Context,
    pub(crate) readiness: Readiness,
    /// While it is away events wait in the outbox: that is shown, and turns nobody away.
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) consumer: Consumer,
}

/// Whether the messages of a service are handled, and why not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consumer(Arc<Mutex<Option<String>>>);

impl Consumer {
    pub(crate) fn works(&self) {
        *self.lock() = None;
    }

    pub(crate) fn failed(&self, reason: String) {
        *self.lock() = Some(reason);
    }

    fn reason(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn routes(probes: Probes) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(probes)
}

/// `/health` and `/ready` of the gateway. Its figures are not for everybody who can reach it.
pub(crate) fn gateway_routes(name: &'static str, readiness: Readiness) -> Router {
    let status = move |status| {
        axum::Json(Status {
            status,
            service: name.to_owned(),
            version: String::new(),
            dependencies: BTreeMap::new(),
            reasons: BTreeMap::new(),
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

/// `/metrics` of what has no database to measure.
pub(crate) fn figures(metrics: Metrics) -> Router {
    let shown = move || async move { rendered(&metrics) };
    Router::new().route("/metrics", get(shown))
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
    service: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    dependencies: BTreeMap<String, &'static str>,
    /// Why a dependency is down, where that is known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    reasons: BTreeMap<String, String>,
}

async fn health(State(probes): State<Probes>) -> axum::Json<Status> {
    axum::Json(Status {
        status: "up",
        service: probes.context.service().to_owned(),
        version: probes.context.version().to_owned(),
        dependencies: BTreeMap::new(),
        reasons: BTreeMap::new(),
    })
}

async fn ready(State(probes): State<Probes>) -> Response {
    let Probes {
        context,
        readiness,
        bus,
        consumer,
    } = probes;
    let asked = env::timeout(BUS_PATIENCE, bus.retention());
    let (database, bus) = tokio::join!(context.db().ping(), asked);
    let bus = match bus {
        Ok(answered) => answered.map_err(|error| chain(&error)),
        Err(_) => Err(format!("it has not answered within {BUS_PATIENCE:?}")),
    };
    let consumer = consumer.reason();
    let ready = readiness.is_ready() && database.is_ok() && consumer.is_none();
    let mut dependencies = BTreeMap::from([
        ("database".to_owned(), state(database.is_ok())),
        ("bus".to_owned(), state(bus.is_ok())),
        ("consumer".to_owned(), state(consumer.is_none())),
    ]);
    for (service, found) in context.dependencies() {
        dependencies.insert(service, state(found));
    }
    let reasons = [
        ("database", database.err().map(|error| chain(&error))),
        ("bus", bus.err()),
        ("consumer", consumer),
    ];
    let reasons = reasons.into_iter();
    let status = Status {
        status: if ready { "ready" } else { "not ready" },
        service: context.service().to_owned(),
        version: context.version().to_owned(),
        dependencies,
        reasons: reasons
            .filter_map(|(name, reason)| Some((name.to_owned(), reason?)))
            .collect(),
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

async fn metrics(State(Probes { context, .. }): State<Probes>) -> Response {
    if let Err(error) = measure(&context).await {
        // Then the figures are those of the last time.
        tracing::debug!(error = chain(error.as_ref()), "cannot measure the database");
    }
    rendered(context.metrics())
}

fn rendered(metrics: &Metrics) -> Response {
    let kind = [(header::CONTENT_TYPE, telemetry::metrics::CONTENT_TYPE)];
    (kind, metrics.render()).into_response()
}
