//! Who is in rotation, and who leaves it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use outrigger_discovery::{
    Clients, Error, InProcess, Instance, Registry, Ttl, registrar, registry::Instances,
};
use tokio::sync::watch;
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

#[tokio::test(start_paused = true)]
async fn who_listens_at_an_address_has_it_alone_once_its_former_owner_is_silent() {
    let (registry, stop) = swept();
    let mut users = registry.watch("user-service");
    let ids = |users: &mut watch::Receiver<Instances>| {
        let now = users.borrow_and_update().clone();
        now.iter().map(|one| one.id.clone()).collect::<Vec<_>>()
    };
    let (old, new) = (instance(1), instance(1));
    registry.register(old).await.expect("registered");
    registry.register(new.clone()).await.expect("registered");
    assert_eq!(
        ids(&mut users),
        [new.id.as_str()],
        "of one service: at once"
    );

    // One process may be of two services: who is alive is not driven out.
    let other = || Instance::new("order-service", new.address);
    registry.register(other()).await.expect("registered");
    assert_eq!(ids(&mut users), [new.id.as_str()]);
    env::sleep(TTL.limit / 3 + Duration::from_secs(1)).await;
    registry.register(other()).await.expect("registered");
    assert!(ids(&mut users).is_empty(), "it has missed a heartbeat");

    // Whoever moves on leaves the address to others.
    let mut moved = instance(2);
    registry.register(moved.clone()).await.expect("registered");
    moved.address = instance(3).address;
    registry.register(moved).await.expect("registered");
    let second = instance(2);
    registry.register(second).await.expect("registered");
    assert_eq!(ids(&mut users).len(), 2);
    stop.cancel();
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

/// A registry that can be away.
struct Remote {
    registry: InProcess,
    away: AtomicBool,
    /// Gone once the connection to it is lost.
    told: Mutex<Option<watch::Sender<Instances>>>,
}

impl Remote {
    fn new() -> Self {
        Self {
            registry: InProcess::new(TTL),
            away: AtomicBool::new(false),
            told: Mutex::new(Some(watch::Sender::new(Instances::from_iter([])))),
        }
    }

    fn reach(&self) -> Result<(), Error> {
        if self.away.load(Ordering::Relaxed) {
            let source = "no route to it".into();
            return Err(Error::Registry { source });
        }
        Ok(())
    }
}

impl Registry for Remote {
    fn register(&self, instance: Instance) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.reach()?;
            self.registry.register(instance).await
        })
    }

    fn heartbeat<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            self.reach()?;
            self.registry.heartbeat(id).await
        })
    }

    fn deregister<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        // Never answers.
        Box::pin(std::future::pending())
    }

    fn watch(&self, _: &str) -> watch::Receiver<Instances> {
        let told = self.told.lock().expect("no test panics with it");
        told.as_ref().expect("still there").subscribe()
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        self.registry.services()
    }
}

#[tokio::test]
async fn where_the_registry_is_away_what_it_said_last_stays() {
    let remote = Arc::new(Remote::new());
    let upstream = Clients::new(remote.clone(), None).upstream("user-service");
    assert!(!upstream.is_known());

    let told = remote.told.lock().unwrap().take().expect("still there");
    told.send_replace(Instances::from_iter([Arc::new(instance(1))]));
    drop(told);

    assert!(upstream.is_known(), "its last word, though it is gone");
    assert!(upstream.is_known());
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_was_away_hears_of_the_instance_again() {
    let remote = Arc::new(Remote::new());
    let (registry, stop) = (remote.registry.clone(), CancellationToken::new());
    let (sweeping, stopped) = (registry.clone(), stop.clone());
    tokio::spawn(async move { sweeping.sweep(stopped).await });
    let heartbeat = Duration::from_secs(30);
    let registration = registrar::register(remote.clone(), instance(1), heartbeat)
        .await
        .expect("registered");
    let leave = CancellationToken::new();
    let kept = tokio::spawn(registration.keep(leave.clone()));
    let mut watched = registry.watch("user-service");
    let count = |watched: &mut watch::Receiver<Instances>| watched.borrow_and_update().len();
    assert_eq!(count(&mut watched), 1);

    remote.away.store(true, Ordering::Relaxed);
    watched.changed().await.expect("the registry lives");
    assert_eq!(count(&mut watched), 0, "silent for too long");
    remote.away.store(false, Ordering::Relaxed);
    watched.changed().await.expect("the registry lives");
    assert_eq!(count(&mut watched), 1);

    let begun = env::instant();
    leave.cancel();
    kept.await.expect("ended");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "a registry that does not answer holds nobody up"
    );
    stop.cancel();
}

#[tokio::test]
async fn services_are_those_that_have_an_instance() {
    let registry = InProcess::new(TTL);
    let _watched = registry.watch("order-service");
    let user = instance(1);
    registry.register(user.clone()).await.expect("registered");
    assert_eq!(registry.services().await.expect("known"), ["user-service"]);
    registry.deregister(&user.id).await.expect("gone");
    assert!(registry.services().await.expect("known").is_empty());
}
