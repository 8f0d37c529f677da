//! The registry in a bucket of NATS, with a private real server: what becomes of it when the server goes, loses the
//! bucket, or holds what is no instance.
#![cfg(feature = "nats")]

mod conformance {
    #[allow(dead_code, reason = "`tests/conformance.rs` runs it")]
    pub(crate) mod suite;
}

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{self, kv::Store};
use conformance::suite::{ids, instance};
use outrigger_discovery::{Error, NatsKv, Registry, Ttl, registrar, registry::nats::Options};
use servers::Nats;
use tokio_util::sync::CancellationToken;

async fn server() -> Nats {
    let server = Nats::start(servers::nats::Options::default()).await;
    server.expect("a server")
}

async fn registry(server: &Nats, ttl: Duration) -> Arc<dyn Registry> {
    let options = Options {
        ttl: Ttl::of(ttl),
        ..Options::default()
    };
    Arc::new(
        NatsKv::connect(&server.url(), options)
            .await
            .expect("a registry"),
    )
}

/// The bucket as an operator has it in hand.
async fn bucket(server: &Nats) -> (jetstream::Context, Store) {
    let client = async_nats::connect(server.url()).await.expect("a client");
    let jetstream = jetstream::new(client);
    let store = jetstream.get_key_value("registry").await;
    (jetstream, store.expect("it is there"))
}

/// A TTL that no test outlasts.
const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn processes_see_each_others_instances_and_of_two_with_one_id_the_second_is_told() {
    let server = server().await;
    let (one, other) = (registry(&server, LONG).await, registry(&server, LONG).await);
    let mut seen = other.watch("user-service");
    one.register(instance("user-service", "a", 1))
        .await
        .expect("registered");
    ids(&mut seen, &["a"]).await;
    let services = ["order-service", "payment-service", "stock-service"];
    let racing = services.map(|service| {
        let registry = Arc::clone(if service.len() > 13 { &one } else { &other });
        async move { registry.register(instance(service, "b", 2)).await }
    });
    let outcomes = futures::future::join_all(racing).await;
    let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(taken, 1, "{outcomes:?}");
    let told = |outcome: &&Result<(), Error>| matches!(outcome, Err(Error::DuplicateId { .. }));
    assert_eq!(outcomes.iter().filter(told).count(), 2, "{outcomes:?}");
    // An instance that left here is gone there.
    one.deregister("a").await.expect("gone");
    ids(&mut seen, &[]).await;
}

#[tokio::test]
async fn while_the_registry_is_away_what_is_known_stays_and_what_changed_is_seen_afterwards() {
    let mut server = server().await;
    let (one, other) = (registry(&server, LONG).await, registry(&server, LONG).await);
    one.register(instance("user-service", "a", 1))
        .await
        .expect("registered");
    let mut seen = other.watch("user-service");
    ids(&mut seen, &["a"]).await;
    server.kill().await;
    let asked = one.register(instance("user-service", "b", 2)).await;
    assert!(asked.is_err_and(|error| error.is_registry_away()));
    assert_eq!(seen.borrow().len(), 1, "its last word");
    server.restart().await.expect("restarted");
    let registered = async || one.register(instance("user-service", "b", 2)).await.is_ok();
    until(registered).await;
    ids(&mut seen, &["a", "b"]).await;
    assert!(
        one.heartbeat("a").await.expect("answered"),
        "it is on the disk"
    );
}

/// Nobody who lives leaves because the registry has lost all that it knew.
#[tokio::test]
async fn a_bucket_that_is_lost_is_made_again_and_nobody_leaves_for_it() {
    let server = server().await;
    let here = registry(&server, LONG).await;
    let there = registry(&server, LONG).await;
    let mut seen = there.watch("user-service");
    let own = instance("user-service", "a", 1);
    let heartbeat = Duration::from_millis(100);
    let registration = registrar::register(here, own, heartbeat)
        .await
        .expect("registered");
    let leave = CancellationToken::new();
    let kept = tokio::spawn(registration.keep(leave.clone()));
    ids(&mut seen, &["a"]).await;
    let (jetstream, _) = bucket(&server).await;
    jetstream
        .delete_key_value("registry")
        .await
        .expect("deleted");
    seen.mark_unchanged();
    let newcomer = registry(&server, LONG).await;
    ids(&mut newcomer.watch("user-service"), &["a"]).await;
    assert_eq!(seen.borrow().len(), 1);
    leave.cancel();
    kept.await.expect("ended");
    ids(&mut newcomer.watch("user-service"), &[]).await;
}

#[tokio::test]
async fn what_is_no_instance_is_passed_over() {
    let server = server().await;
    let registry = registry(&server, LONG).await;
    registry
        .register(instance("user-service", "a", 1))
        .await
        .expect("registered");
    let (_, store) = bucket(&server).await;
    for (key, value) in [
        ("garbage", "garbage"),
        ("null", "null"),
        (
            "b",
            r#"{"id":"c","service":"user-service","address":"127.0.0.1:1"}"#,
        ),
        (
            "=ff",
            r#"{"id":"x","service":"user-service","address":"127.0.0.1:1"}"#,
        ),
        (
            "d",
            r#"{"id":"d","service":"user-service","address":"nowhere"}"#,
        ),
    ] {
        store.put(key, value.into()).await.expect("put");
    }
    registry
        .register(instance("user-service", "z", 2))
        .await
        .expect("registered");
    ids(&mut registry.watch("user-service"), &["a", "z"]).await;
    // Whoever registers under such a key takes it over.
    registry
        .register(instance("user-service", "garbage", 3))
        .await
        .expect("registered");
    ids(&mut registry.watch("user-service"), &["a", "garbage", "z"]).await;
}

#[tokio::test]
async fn a_registry_that_is_not_there_yet_holds_nobody_up() {
    let mut server = server().await;
    server.kill().await;
    let registry = registry(&server, LONG).await;
    let mut seen = registry.watch("user-service");
    assert!(!seen.borrow().is_known());
    let own = instance("user-service", "a", 1);
    let heartbeat = Duration::from_millis(100);
    let registration = registrar::register(Arc::clone(&registry), own, heartbeat).await;
    let leave = CancellationToken::new();
    tokio::spawn(registration.expect("later").keep(leave.clone()));
    server.restart().await.expect("restarted");
    ids(&mut seen, &["a"]).await;
    let wrong = NatsKv::connect("nats://a b", Options::default()).await;
    assert!(matches!(wrong.err(), Some(Error::RegistryUrl { .. })));
    leave.cancel();
}

/// Waits until `done`, but not for ever.
async fn until<F: Future<Output = bool>>(mut done: impl FnMut() -> F) {
    let waited = env::timeout(Duration::from_secs(30), async {
        while !done().await {
            env::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.expect("it comes to pass");
}
