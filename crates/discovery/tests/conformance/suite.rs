//! What every registry must do, written once. Each function takes a registry that has nothing in it yet.

use std::{sync::Arc, time::Duration};

use outrigger_discovery::{Error, Instance, Registry, registry::Instances};
use tokio::sync::watch;

/// How long a change may take to be seen.
const SOON: Duration = Duration::from_secs(10);

pub(crate) fn instance(service: &str, id: &str, port: u16) -> Instance {
    let mut instance = Instance::new(service, ([127, 0, 0, 1], port).into());
    instance.id = id.to_owned();
    instance
}

pub(crate) async fn ids(seen: &mut watch::Receiver<Instances>, expected: &[&str]) {
    let all = |instances: &Instances| {
        let ids: Vec<_> = instances.iter().map(|it| it.id.as_str()).collect();
        ids == expected
    };
    let came = env::timeout(SOON, seen.wait_for(all)).await.is_ok();
    assert!(came, "{expected:?}, but {:?}", seen.borrow());
}

async fn register(registry: &Arc<dyn Registry>, instance: Instance) {
    registry.register(instance).await.expect("registered");
}

/// What a registry holds that cannot be written.
pub(crate) fn known_beforehand() -> Vec<Instance> {
    vec![
        instance("user-service", "a", 1).zone("north"),
        instance("user-service", "b", 2).weight(7),
        instance("order-service", "c", 3),
    ]
}

/// The reading half of the suite, also for a registry that has these instances and cannot be written.
pub(crate) async fn what_is_there_is_read_by_service(registry: Arc<dyn Registry>) {
    let known = known_beforehand();
    for instance in &known {
        register(&registry, instance.clone()).await;
    }
    what_is_known_is_read_by_service(registry, &known).await;
}

/// The same for a registry that has instances of its own: two of `user-service` and one of `order-service`.
pub(crate) async fn what_is_known_is_read_by_service(
    registry: Arc<dyn Registry>,
    known: &[Instance],
) {
    let named: Vec<_> = known.iter().map(|it| it.id.as_str()).collect();
    let mut users = registry.watch("user-service");
    ids(&mut users, &named[..2]).await;
    let seen: Vec<Instance> = users.borrow().iter().map(|it| (**it).clone()).collect();
    assert_eq!(seen, known[..2]);
    let mut orders = registry.watch("order-service");
    ids(&mut orders, &named[2..]).await;
    let mut none = registry.watch("payment-service");
    let told = env::timeout(SOON, none.wait_for(Instances::is_known)).await;
    assert!(told.expect("told").expect("kept").is_empty());
    let services = registry.services().await.expect("answered");
    assert_eq!(services, ["order-service", "user-service"]);
    assert!(registry.heartbeat(named[0]).await.expect("answered"));
}

/// Whoever watches sees an instance with all that was said of it, also one that was there before.
pub(crate) async fn an_instance_is_seen_as_it_was_registered(registry: Arc<dyn Registry>) {
    let mut told = instance("user-service", "a", 1)
        .version("1.2.0")
        .zone("north")
        .weight(7);
    told.metadata.insert("rack".to_owned(), "ä 12".to_owned());
    let mut before = registry.watch("user-service");
    register(&registry, told.clone()).await;
    let mut after = registry.watch("user-service");
    for seen in [&mut before, &mut after] {
        ids(seen, &["a"]).await;
        assert_eq!(*seen.borrow()[0], told);
    }
}

/// Instances come and go, in the order of their ids, and a watcher sees its service only.
pub(crate) async fn a_watcher_sees_every_change_of_its_service(registry: Arc<dyn Registry>) {
    let mut users = registry.watch("user-service");
    register(&registry, instance("user-service", "b", 2)).await;
    register(&registry, instance("order-service", "c", 3)).await;
    register(&registry, instance("user-service", "a", 1)).await;
    ids(&mut users, &["a", "b"]).await;
    registry.deregister("b").await.expect("gone");
    ids(&mut users, &["a"]).await;
    registry.deregister("a").await.expect("gone");
    ids(&mut users, &[]).await;
    ids(&mut registry.watch("order-service"), &["c"]).await;
}

/// Registering again replaces: the instance that drains, or came back elsewhere, is there once.
pub(crate) async fn registering_again_replaces(registry: Arc<dyn Registry>) {
    let mut seen = registry.watch("user-service");
    register(&registry, instance("user-service", "a", 1)).await;
    register(&registry, instance("user-service", "a", 2).draining()).await;
    let replaced = seen.wait_for(|now| now.len() == 1 && now[0].draining);
    let replaced = env::timeout(SOON, replaced)
        .await
        .expect("seen")
        .expect("kept");
    assert_eq!(replaced[0].address.port(), 2);
}

/// An id belongs to one service as long as its instance is there.
pub(crate) async fn an_id_is_of_one_service(registry: Arc<dyn Registry>) {
    register(&registry, instance("user-service", "a", 1)).await;
    let refused = registry.register(instance("order-service", "a", 2)).await;
    let Err(Error::DuplicateId { id, service }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((id.as_str(), service.as_str()), ("a", "user-service"));
    registry.deregister("a").await.expect("gone");
    register(&registry, instance("order-service", "a", 2)).await;
}

/// One that comes and goes, each time somewhere else, disturbs nobody, and ends as it was left.
pub(crate) async fn a_flapping_instance_disturbs_nobody_and_ends_as_it_was_left(
    registry: Arc<dyn Registry>,
) {
    let mut seen = registry.watch("user-service");
    register(&registry, instance("user-service", "steady", 1)).await;
    ids(&mut seen, &["steady"]).await;
    let watching = {
        let mut seen = seen.clone();
        tokio::spawn(async move {
            while seen.changed().await.is_ok() {
                let now = seen.borrow_and_update().clone();
                let steady = now.iter().filter(|it| it.id == "steady").count();
                assert_eq!(steady, 1, "{now:?}");
                assert!(now.len() <= 2, "{now:?}");
            }
        })
    };
    for port in 2..50 {
        register(&registry, instance("user-service", "flapping", port)).await;
        registry.deregister("flapping").await.expect("gone");
    }
    ids(&mut seen, &["steady"]).await;
    register(&registry, instance("user-service", "flapping", 50)).await;
    ids(&mut seen, &["flapping", "steady"]).await;
    assert_eq!(seen.borrow()[0].address.port(), 50);
    assert!(!watching.is_finished(), "it saw what it should not");
    watching.abort();
}

/// A heartbeat of an instance that is not there says so; leaving twice is well.
pub(crate) async fn an_unknown_heart_is_told_so(registry: Arc<dyn Registry>) {
    assert!(!registry.heartbeat("nobody/../a b").await.expect("answered"));
    register(&registry, instance("user-service", "a", 1)).await;
    assert!(registry.heartbeat("a").await.expect("answered"));
    registry.deregister("a").await.expect("gone");
    assert!(!registry.heartbeat("a").await.expect("answered"));
    registry.deregister("a").await.expect("gone already");
}

/// Services are those that have an instance.
pub(crate) async fn services_are_those_with_an_instance(registry: Arc<dyn Registry>) {
    let _watched = registry.watch("payment-service");
    register(&registry, instance("user-service", "b", 1)).await;
    register(&registry, instance("order-service", "c", 1)).await;
    let services = registry.services().await.expect("answered");
    assert_eq!(services, ["order-service", "user-service"]);
    registry.deregister("c").await.expect("gone");
    let services = registry.services().await.expect("answered");
    assert_eq!(services, ["user-service"]);
}

/// Its time to live is short here: a silent instance leaves, one whose heart beats stays.
pub(crate) async fn g7_rotation_ends_for_the_silent_only(registry: Arc<dyn Registry>) {
    register(&registry, instance("user-service", "lively", 1)).await;
    register(&registry, instance("user-service", "silent", 2)).await;
    let mut seen = registry.watch("user-service");
    ids(&mut seen, &["lively", "silent"]).await;
    let beating = async {
        while registry.heartbeat("lively").await.expect("answered") {
            env::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = beating => panic!("the lively one left"),
        () = ids(&mut seen, &["lively"]) => {}
    }
}
