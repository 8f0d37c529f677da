//! How a service lives: database, messaging, server, readiness, registration; and all that backwards.
//!
//! Stopping (G8): readiness turns false and the instance leaves the registry, so that nothing new comes; what
//! is in flight finishes, for at most the time to drain; the outbox is flushed; then the service is gone.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath},
    http::{Method, StatusCode, Uri},
    middleware::from_fn_with_state,
    response::IntoResponse,
};
use data::Database;
use discovery::{Clients, Instance};
use env::{Problem, chain};
use events::{Bus, Handlers, consumer, relay};
use gateway::Gateway;
use identity::{Issuer, RequireToken, Verifier};
use saga::Sagas;
use telemetry::{Metrics, PerformanceMonitor, http::ServerLayer, metrics::Outcome};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    Context, Error, Platform, Result, Service, System,
    context::Parts,
    dead_letters,
    endpoints::{self, Readiness},
    event_store, idempotency,
    messages::Message,
    operations, retention, server,
};

/// The most that the body of a request to a service may hold, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;
/// The name of the gateway, also to the services that it calls.
pub const GATEWAY: &str = "gateway";

/// Starts `service` on `platform`, listening on `listen`.
pub(crate) async fn start_service(
    service: &Service,
    platform: &Platform,
    listen: SocketAddr,
) -> Result<RunningService> {
    let name = service.name();
    let context = context(service, platform).await?;
    let life = Life::default();

    start_messaging(service, &context, platform, &life);

    let listener = env::net::listen(listen)
        .await
        .map_err(listening(name, listen))?;
    let address = reachable(&listener).map_err(listening(name, listen))?;
    let readiness = Readiness::default();
    let app = app(service, &context, platform, readiness.clone(), &life);
    let drain = platform.settings().lifecycle.drain;
    life.serving
        .spawn(server::serve(listener, app, life.draining.clone(), drain));
    readiness.set(true);

    let instance = Instance::new(name, address).version(service.declared_version());
    let heartbeat = platform.settings().discovery.heartbeat;
    let registration =
        discovery::registrar::register(platform.registry().clone(), instance, heartbeat)
            .await
            .map_err(Error::start(name, "registration"))?;
    life.registered
        .spawn(registration.keep(life.leaving.clone()));
    Ok(RunningService {
        context,
        address,
        readiness,
        life,
        drain,
    })
}

async fn context(service: &Service, platform: &Platform) -> Result<Context> {
    let name = service.name();
    let start = |part| Error::start::<data::Error>(name, part);
    let url = platform.settings().database_of(name);
    let db = Database::open(url.reveal())
        .await
        .map_err(start("database"))?;
    let published = &service.declared_messages().published;
    let db = db
        .owned_by(name)
        .publishing(published.iter().map(Message::uri))
        .limiting_messages(platform.settings().messaging.max_event_size);
    db.migrate(service.declared_migrations())
        .await
        .map_err(start("migrations"))?;
    event_store::prepare(service, &db).await?;
    events::install(&db)
        .await
        .map_err(Error::start(name, "events"))?;
    let sagas = Sagas::open(db.clone())
        .await
        .map_err(Error::start(name, "sagas"))?;
    service.register_sagas(&sagas);

    let boundary = service.shared_boundary();
    let issuer = issuer(platform, name, boundary.depends_on.iter());
    Ok(Context::new(Parts {
        service: name.into(),
        version: service.declared_version().into(),
        boundary,
        db,
        clients: Clients::new(platform.registry().clone(), Some(issuer)),
        sagas,
        metrics: Metrics::new(name),
        performance: PerformanceMonitor::default(),
    }))
}

/// Whoever is declared as a dependency may be called, and nobody else.
fn issuer<'a>(
    platform: &Platform,
    caller: &str,
    callees: impl Iterator<Item = &'a String>,
) -> Issuer {
    let grants: BTreeMap<_, _> = callees
        .map(|callee| (callee.clone(), vec![identity::CALL.to_owned()]))
        .collect();
    Issuer::new(platform.keyring().clone(), caller, grants)
}

fn start_messaging(service: &Service, context: &Context, platform: &Platform, life: &Life) {
    let handlers = service.handlers(context, context.sagas().handlers(Handlers::new()));
    let (db, bus) = (context.db().clone(), platform.bus().clone());
    let settings = &platform.settings().messaging;
    let options = consumer::Options {
        max_deliveries: settings.max_deliveries,
        concurrency: settings.concurrency,
        observer: Some(observer(context)),
        ..consumer::Options::default()
    };
    let stop = life.draining.clone();
    let consuming = consume(
        context.clone(),
        bus.clone(),
        handlers,
        options,
        stop.clone(),
    );
    life.handling.spawn(consuming);
    let sagas = context.sagas().clone();
    let timers = stop.clone();
    life.handling
        .spawn(async move { sagas.run_timers(timers).await });
    event_store::start(service, context, &life.handling, &stop);
    let keep = platform.settings().idempotency.keep;
    let forgetting = retention::run(context.clone(), bus.clone(), keep, stop);
    life.handling.spawn(forgetting);
    let options = relay::Options {
        replay_window: settings.replay_window,
        observer: Some(published(context)),
        ..relay::Options::default()
    };
    life.relaying
        .spawn(relay::run(db, bus, options, life.flushing.clone()));
}

/// Every batch that the bus was given is in the service's figures.
fn published(context: &Context) -> relay::Observer {
    let metrics = context.metrics().clone();
    Arc::new(move |batch| {
        metrics.batch_published(batch.outcome, batch.duration);
        if batch.outcome.is_ok() {
            for kind in &batch.kinds {
                metrics.message_sent(kind);
            }
        }
    })
}

/// Every message that was handled is in the service's figures.
fn observer(context: &Context) -> consumer::Observer {
    let (metrics, performance) = (context.metrics().clone(), context.performance().clone());
    Arc::new(move |processed| {
        let outcome = match processed.outcome {
            consumer::Outcome::Handled => Outcome::Handled,
            consumer::Outcome::Duplicate => Outcome::Duplicate,
            consumer::Outcome::Held => Outcome::Held,
            consumer::Outcome::Retried => Outcome::Retried,
            consumer::Outcome::DeadLettered => Outcome::DeadLettered,
        };
        metrics.message_processed(processed.kind, processed.group, outcome, processed.duration);
        match outcome {
            // Nothing was done yet that could be measured.
            Outcome::Held => {}
            _ => {
                let succeeded = matches!(outcome, Outcome::Handled | Outcome::Duplicate);
                performance.record(processed.kind, processed.duration, succeeded);
            }
        }
    })
}

async fn consume(
    context: Context,
    bus: Arc<dyn Bus>,
    handlers: Handlers,
    options: consumer::Options,
    stop: CancellationToken,
) {
    let (db, group) = (context.db().clone(), context.service());
    if let Err(error) = consumer::run(db, bus, group, handlers, options, stop).await {
        tracing::error!(service = group, error = %chain(&error), "messages are not handled any more");
    }
}

/// The API of `service`, outermost layer last.
fn app(
    service: &Service,
    context: &Context,
    platform: &Platform,
    readiness: Readiness,
    life: &Life,
) -> Router {
    let verifier = Verifier::new(platform.keyring(), service.name());
    let keys = idempotency::Keys {
        db: context.db().clone(),
        keep: platform.settings().idempotency.keep,
        body_limit: BODY_LIMIT,
        running: life.serving.clone(),
    };
    service
        .declared_routes()
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .with_state(context.clone())
        // Wrong input must be cheap to refuse.
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        // A handler that panics answers 500 and takes nothing else with it.
        .layer(CatchPanicLayer::custom(|_| {
            Problem::internal().into_response()
        }))
        // Outside the net for panics, so that one ends its claim; behind the token, which says whose key it is (G3).
        .layer(from_fn_with_state(keys, idempotency::layer))
        // Nothing of the API is reached without a token (G10).
        .layer(RequireToken::new(verifier.clone(), identity::CALL))
        // Beside the API: its callers have no say here, nor have operators there.
        .merge(dead_letters::routes(context.clone(), verifier.clone()))
        .merge(operations::routes(context.clone(), verifier))
        // Outside the token check, so that a refusal is in the trace and the figures too.
        .layer(
            ServerLayer::new(context.metrics().clone(), context.performance().clone())
                .route(|extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str)),
        )
        // Probes and scrapes carry no token, and are not traced.
        .merge(endpoints::routes(context.clone(), readiness))
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

/// Starts the gateway of `system`.
pub(crate) async fn start_gateway(
    config: gateway::Config,
    system: &System,
    platform: &Platform,
    listen: SocketAddr,
) -> Result<RunningGateway> {
    let names: Vec<_> = system
        .services()
        .iter()
        .map(|service| service.name().to_owned())
        .collect();
    let clients = Clients::new(
        platform.registry().clone(),
        Some(issuer(platform, GATEWAY, names.iter())),
    );
    let metrics = Metrics::new(GATEWAY);
    let gateway = Gateway::new(config, &clients, metrics).map_err(Error::Gateway)?;
    let listener = env::net::listen(listen)
        .await
        .map_err(listening(GATEWAY, listen))?;
    let address = reachable(&listener).map_err(listening(GATEWAY, listen))?;
    let life = Life::default();
    let drain = platform.settings().lifecycle.drain;
    let readiness = Readiness::default();
    let app = endpoints::gateway_routes(GATEWAY, readiness.clone()).fallback_service(gateway);
    life.serving
        .spawn(server::serve(listener, app, life.draining.clone(), drain));
    readiness.set(true);
    Ok(RunningGateway {
        address,
        readiness,
        life,
        drain,
    })
}

fn listening(who: &str, address: SocketAddr) -> impl FnOnce(std::io::Error) -> Error {
    let who = who.to_owned();
    move |source| Error::Listen {
        who,
        address,
        source,
    }
}

/// Where others reach what listens on every address of this machine.
fn reachable(listener: &env::net::Listener) -> std::io::Result<SocketAddr> {
    let mut address = listener.local_addr()?;
    if address.ip().is_unspecified() {
        address.set_ip(env::net::local_address());
    }
    Ok(address)
}

/// The tasks of a running part, in the order in which they end.
#[derive(Default, Clone)]
struct Life {
    leaving: CancellationToken,
    registered: TaskTracker,
    draining: CancellationToken,
    serving: TaskTracker,
    handling: TaskTracker,
    flushing: CancellationToken,
    relaying: TaskTracker,
}

impl Life {
    /// Ends the tasks stage by stage; each stage for at most `limit`.
    async fn end(&self, limit: Duration) {
        self.leaving.cancel();
        finish(&self.registered, limit).await;
        self.draining.cancel();
        finish(&self.serving, limit).await;
        finish(&self.handling, limit).await;
        self.flushing.cancel();
        finish(&self.relaying, limit).await;
    }
}

async fn finish(tasks: &TaskTracker, limit: Duration) {
    tasks.close();
    if env::timeout(limit, tasks.wait()).await.is_err() {
        tracing::warn!(
            ?limit,
            unfinished = tasks.len(),
            "gave up waiting for tasks to finish"
        );
    }
}

/// A service that runs.
pub struct RunningService {
    context: Context,
    address: SocketAddr,
    readiness: Readiness,
    life: Life,
    drain: Duration,
}

impl RunningService {
    /// Its name.
    pub fn name(&self) -> &str {
        self.context.service()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its handlers get.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Stops it gracefully.
    pub async fn stop(self) {
        self.readiness.set(false);
        self.life.end(self.drain).await;
    }
}

/// A gateway that runs.
pub struct RunningGateway {
    address: SocketAddr,
    readiness: Readiness,
    life: Life,
    drain: Duration,
}

impl RunningGateway {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it gracefully.
    pub async fn stop(self) {
        self.readiness.set(false);
        self.life.end(self.drain).await;
    }
}

/// A whole system that runs in this process.
pub struct Running {
    platform: Platform,
    services: Vec<RunningService>,
    gateway: Option<RunningGateway>,
}

impl Running {
    pub(crate) fn new(platform: Platform) -> Self {
        Self {
            platform,
            services: Vec::new(),
            gateway: None,
        }
    }

    pub(crate) fn add_service(&mut self, service: RunningService) {
        self.services.push(service);
    }

    pub(crate) fn set_gateway(&mut self, gateway: RunningGateway) {
        self.gateway = Some(gateway);
    }

    /// The services, in the order of the description.
    pub fn services(&self) -> &[RunningService] {
        &self.services
    }

    /// Where the gateway listens, if the system has one.
    pub fn gateway(&self) -> Option<SocketAddr> {
        self.gateway.as_ref().map(RunningGateway::address)
    }

    /// What the services share.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// Stops everything gracefully, the gateway first, so that no request meets a service that is gone.
    pub async fn stop(self) {
        if let Some(gateway) = self.gateway {
            gateway.stop().await;
        }
        futures::future::join_all(self.services.into_iter().map(RunningService::stop)).await;
        self.platform.stop().await;
    }
}
