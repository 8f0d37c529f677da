//! Who is in rotation, and who leaves it.

use std::{sync::Arc, time::Duration};

use outrigger_discovery::{InProcess, Instance, Registry, Ttl, registrar};
use tokio_util::sync::CancellationToken;

const TTL: Ttl = Ttl {
    limit: Duration::from_secs(90),
    sweep: Duration::from_secs(30),
};

fn instance(port: u16) -> Instance {
    Instance::new("user-service", ([127, 0, 0, 1], port).into())
}

fn swept() -> (InProcess, CancellationToken) {
    let (registry, stop) = (InProcess::new(TTL), CancellationToken::new());
    let (sweeping, stopped) = (registry.clone(), stop.clone());
    tokio::spawn(async move { sweeping.sweep(stopped).await });
    (registry, stop)
}

#[tokio::test(start_paused = true)]
async fn g7_rotation_ends_for_a_silent_instance_within_its_ttl_and_one_sweep() {
    let (registry, stop) = swept();
    registry.register(instance(1)).await.expect("registered");
    let mut watched = registry.watch("user-service");
    watched.mark_unchanged();
    let begun = env::instant();

    watched.changed().await.expect("the registry lives");

    assert!(watched.borrow().is_empty());
    assert!(begun.elapsed() >= TTL.limit && begun.elapsed() <= TTL.limit + TTL.sweep);
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn g7_rotation_goes_on_for_an_instance_whose_heart_beats() {
    let (registry, stop) = swept();
    let heartbeat = Duration::from_secs(30);
    let registration = registrar::register(Arc::new(registry.clone()), instance(1), heartbeat)
        .await
        .expect("registered");
    let leave = CancellationToken::new();
    let kept = tokio::spawn(registration.keep(leave.clone()));

    env::sleep(Duration::from_secs(600)).await;
    assert_eq!(registry.watch("user-service").borrow().len(), 1);

    leave.cancel();
    kept.await.expect("ended");
    assert!(
        registry.watch("user-service").borrow().is_empty(),
        "who leaves gets nothing new"
    );
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn one_that_the_registry_forgot_comes_back_with_its_next_heartbeat() {
    let registry = InProcess::new(TTL);
    let instance = instance(1);
    let heartbeat = Duration::from_secs(30);
    let registration = registrar::register(Arc::new(registry.clone()), instance.clone(), heartbeat)
        .await
        .expect("registered");
    let leave = CancellationToken::new();
    let kept = tokio::spawn(registration.keep(leave.clone()));
    registry.deregister(&instance.id).await.expect("forgotten");

    env::sleep(Duration::from_secs(31)).await;

    assert_eq!(registry.watch("user-service").borrow().len(), 1);
    leave.cancel();
    kept.await.expect("ended");
}

#[tokio::test]
async fn a_watcher_sees_its_service_only_and_every_change_of_it() {
    let registry = InProcess::new(TTL);
    let mut watched = registry.watch("user-service");
    let other = Instance::new("order-service", ([127, 0, 0, 1], 9).into());
    registry.register(other).await.expect("registered");
    assert!(!watched.has_changed().expect("the registry lives"));
    registry.register(instance(1)).await.expect("registered");
    registry.register(instance(2)).await.expect("registered");
    watched.changed().await.expect("the registry lives");
    assert_eq!(watched.borrow().len(), 2);
}
