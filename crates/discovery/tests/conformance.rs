//! Every registry, held to the same suite.

mod api_server;
mod conformance {
    pub(crate) mod suite;
}
mod names;
mod server;

use std::{sync::Arc, time::Duration};

use outrigger_discovery::{Dns, Hub, InProcess, Instance, Registry, StaticList, Ttl};
use tokio_util::sync::CancellationToken;

const TTL: Duration = Duration::from_secs(1);

/// A registry, and what must live as long as it.
struct Fixture {
    registry: Arc<dyn Registry>,
    _alive: Box<dyn std::any::Any>,
}

async fn in_process() -> Fixture {
    let registry = InProcess::new(Ttl::of(TTL));
    let stop = CancellationToken::new();
    let (sweeping, stopped) = (registry.clone(), stop.clone());
    tokio::spawn(async move { sweeping.sweep(stopped).await });
    Fixture {
        registry: Arc::new(registry),
        _alive: Box::new(stop.drop_guard()),
    }
}

async fn over_http() -> Fixture {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("hub.sqlite").display());
    let options = hub::Options {
        ttl: Ttl::of(TTL),
        ..hub::Options::default()
    };
    let hub = hub::Hub::open(&url, options).await.expect("opened");
    let address = server::serve(hub.routes()).await;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move { hub.run(stopped).await });
    let registry = Hub::new(&format!("http://{address}"), None).expect("an address");
    Fixture {
        registry: Arc::new(registry),
        _alive: Box::new((folder, stop.drop_guard())),
    }
}

macro_rules! hold_to {
    ($backend:ident: $($name:ident),+ $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            let fixture = super::$backend().await;
            crate::conformance::suite::$name(Arc::clone(&fixture.registry)).await;
        }
    )+};
}

macro_rules! backends {
    ($($module:ident: $backend:ident),+ $(,)?) => {$(
        mod $module {
            use super::*;

            hold_to!($backend:
                what_is_there_is_read_by_service,
                an_instance_is_seen_as_it_was_registered,
                a_watcher_sees_every_change_of_its_service,
                registering_again_replaces,
                an_id_is_of_one_service,
                a_flapping_instance_disturbs_nobody_and_ends_as_it_was_left,
                an_unknown_heart_is_told_so,
                services_are_those_with_an_instance,
                g7_rotation_ends_for_the_silent_only,
            );
        }
    )+};
}

backends!(memory: in_process, hub_over_http: over_http);

/// One that cannot be written is held to the reading half.
async fn known_beforehand() -> Fixture {
    Fixture {
        registry: Arc::new(StaticList::new(conformance::suite::known_beforehand())),
        _alive: Box::new(()),
    }
}

mod static_list {
    use super::*;

    hold_to!(known_beforehand: what_is_there_is_read_by_service);
}

/// Registries that others write, and that say what they know in their own way.
mod read_only {
    use super::*;
    use crate::conformance::suite::{instance, what_is_known_is_read_by_service};

    #[tokio::test]
    async fn kubernetes_is_read_by_service() {
        let server = api_server::ApiServer::default();
        let known = [
            instance("user-service", "user-service@a", 1).zone("north"),
            instance("user-service", "user-service@b", 1),
            instance("order-service", "order-service@c", 3),
        ];
        server.put("users", &known[..2]);
        server.put("orders", &known[2..]);
        let registry = server.registry(server::serve(server.routes()).await);
        what_is_known_is_read_by_service(Arc::new(registry), &known).await;
    }

    #[tokio::test(start_paused = true)]
    async fn dns_is_read_by_service() {
        let names = names::Names::enter();
        let at = |service: &str, last| {
            let id = format!("{service}@127.0.0.{last}:8080");
            Instance {
                address: ([127, 0, 0, last], 8080).into(),
                ..instance(service, &id, 0)
            }
        };
        let known = [
            at("user-service", 1),
            at("user-service", 2),
            at("order-service", 3),
        ];
        names.set(
            "user-service.shop:8080",
            &[known[1].address, known[0].address],
        );
        names.set("order-service.shop:8080", &[known[2].address]);
        let options = "dns://{service}.shop:8080".parse().expect("options");
        what_is_known_is_read_by_service(Arc::new(Dns::new(options)), &known).await;
    }
}

#[cfg(feature = "nats")]
async fn in_nats() -> Fixture {
    let server = servers::Nats::start(servers::nats::Options::default()).await;
    let server = server.expect("a server");
    let options = outrigger_discovery::registry::nats::Options {
        ttl: Ttl::of(TTL),
        ..outrigger_discovery::registry::nats::Options::default()
    };
    let registry = outrigger_discovery::NatsKv::connect(&server.url(), options).await;
    Fixture {
        registry: Arc::new(registry.expect("a registry")),
        _alive: Box::new(server),
    }
}

#[cfg(feature = "nats")]
backends!(nats: in_nats);
