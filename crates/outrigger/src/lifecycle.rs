//! How a service lives: database, messaging, server, readiness, registration; and all that backwards.
//!
//! Stopping (G8): readiness turns false and the instance leaves the registry; it serves on until everybody has heard of
//! that, and asks its clients to connect elsewhere; what is in flight finishes; the outbox is flushed; then the service is
//! gone. All of it together takes at most the time to drain, a quarter of which is kept for the outbox.

mod api;
mod closing;
mod hub;
mod messaging;
mod running;
mod stages;

use std::{collections::BTreeMap, net::SocketAddr};

use axum::middleware::from_fn_with_state;
use data::Database;
use discovery::Instance;
use gateway::Gateway;
use identity::Issuer;
use saga::Sagas;
use telemetry::{Metrics, PerformanceMonitor};

use self::stages::{Life, Stopping};
use crate::{
    Context, Error, Platform, Result, Service, System,
    context::Parts,
    endpoints::{self, Probes, Readiness},
    event_store,
    messages::Message,
    server,
};

pub use hub::RunningHub;
pub use running::{Running, RunningGateway, RunningService};

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
    let listener = env::net::listen(listen)
        .await
        .map_err(listening(name, listen))?;
    let bound = listener.local_addr().map_err(listening(name, listen))?;
    let life = Life::default();
    let consumer = messaging::start(service, &context, platform, &life);
    let readiness = Readiness::default();
    let probes = Probes {
        context: context.clone(),
        readiness: readiness.clone(),
        bus: platform.bus_of(name),
        consumer,
    };
    let app = api::app(service, &context, platform, probes, &life);
    let drain = platform.settings().lifecycle.drain;
    life.serving
        .spawn(server::serve(listener, app, life.draining.clone(), drain));
    readiness.set(true);

    let stopping = Stopping::on(platform);
    let instance =
        Instance::new(name, platform.advertised(bound)).version(service.declared_version());
    if let Err(error) = enter(instance, platform, &life).await {
        readiness.set(false);
        life.end(stopping).await;
        return Err(Error::start(name, "registration")(error));
    }
    Ok(RunningService {
        context,
        address: reachable(bound),
        readiness,
        life,
        stopping,
    })
}

/// Puts `instance` into rotation, and keeps it there until its life comes to leaving.
async fn enter(instance: Instance, platform: &Platform, life: &Life) -> discovery::Result<()> {
    let heartbeat = platform.settings().discovery.heartbeat;
    let registry = platform.registry().clone();
    let registration = discovery::registrar::register(registry, instance, heartbeat).await?;
    life.registered
        .spawn(registration.keep(life.leaving.clone()));
    Ok(())
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
    let metrics = Metrics::new(name);
    Ok(Context::new(Parts {
        service: name.into(),
        version: service.declared_version().into(),
        boundary,
        db,
        clients: platform.clients(issuer, &metrics),
        sagas,
        metrics,
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
    let lifetime = platform.settings().security.token_lifetime;
    Issuer::with_lifetime(platform.keyring().clone(), caller, grants, lifetime)
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
    let metrics = Metrics::new(GATEWAY);
    let clients = platform.clients(issuer(platform, GATEWAY, names.iter()), &metrics);
    let gateway = Gateway::new(config, &clients, metrics).map_err(Error::Gateway)?;
    let listener = env::net::listen(listen)
        .await
        .map_err(listening(GATEWAY, listen))?;
    let bound = listener.local_addr().map_err(listening(GATEWAY, listen))?;
    let life = Life::default();
    let drain = platform.settings().lifecycle.drain;
    let readiness = Readiness::default();
    let app = endpoints::gateway_routes(GATEWAY, readiness.clone())
        .fallback_service(gateway)
        .layer(from_fn_with_state(life.closing.clone(), closing::layer));
    life.serving
        .spawn(server::serve(listener, app, life.draining.clone(), drain));
    readiness.set(true);
    let stopping = Stopping::on(platform);
    if let Err(error) = enter(
        Instance::new(GATEWAY, platform.advertised(bound)),
        platform,
        &life,
    )
    .await
    {
        readiness.set(false);
        life.end(stopping).await;
        return Err(Error::start(GATEWAY, "registration")(error));
    }
    Ok(RunningGateway {
        address: reachable(bound),
        readiness,
        life,
        stopping,
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

/// Where this machine itself reaches what listens on `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(env::net::local_address());
    }
    address
}
