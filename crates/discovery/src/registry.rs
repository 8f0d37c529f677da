//! The seam of discovery: who is where.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use env::Instant;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Instance, Result};

/// The instances of a service, as they are known now.
pub type Instances = Arc<[Arc<Instance>]>;

/// Knows which instances of which services there are.
pub trait Registry: Send + Sync + 'static {
    /// Adds an instance, or replaces the one with its id.
    fn register(&self, instance: Instance) -> BoxFuture<'_, Result<()>>;
    /// Says that the instance lives.
    fn heartbeat<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>>;
    /// Takes the instance out of rotation, at once.
    fn deregister<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>>;
    /// The instances of `service`, and every change of them. Where the registry is away, they stay as they were.
    fn watch(&self, service: &str) -> watch::Receiver<Instances>;
    /// The services that have an instance, by name.
    fn services(&self) -> BoxFuture<'_, Result<Vec<String>>>;
}

/// How long an instance may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl {
    /// After so long without a heartbeat it leaves rotation. Default 90 s.
    pub limit: Duration,
    /// How often that is looked at. Default a third of the limit.
    pub sweep: Duration,
}

impl Ttl {
    /// A limit, looked at three times within it.
    pub fn of(limit: Duration) -> Self {
        Self {
            limit,
            sweep: limit / 3,
        }
    }
}

impl Default for Ttl {
    fn default() -> Self {
        Self::of(Duration::from_secs(90))
    }
}

/// A registry in memory.
#[derive(Clone)]
pub struct InProcess(Arc<Shared>);

struct Shared {
    ttl: Ttl,
    services: Mutex<BTreeMap<String, Service>>,
}

struct Service {
    members: BTreeMap<String, (Arc<Instance>, Instant)>,
    told: watch::Sender<Instances>,
}

impl InProcess {
    /// An empty registry.
    pub fn new(ttl: Ttl) -> Self {
        Self(Arc::new(Shared {
            ttl,
            services: Mutex::default(),
        }))
    }

    /// Takes silent instances out, until `stop`.
    pub async fn sweep(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = env::sleep(self.0.ttl.sweep) => {}
            }
            let now = env::instant();
            let limit = self.0.ttl.limit;
            for service in self.lock().values_mut() {
                let before = service.members.len();
                service
                    .members
                    .retain(|_, (_, seen)| now.saturating_duration_since(*seen) < limit);
                if service.members.len() != before {
                    service.tell();
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Service>> {
        self.0
            .services
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Service {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            told: watch::Sender::new(Arc::from([])),
        }
    }
}

impl Service {
    fn tell(&self) {
        self.told.send_replace(
            self.members
                .values()
                .map(|(instance, _)| instance.clone())
                .collect(),
        );
    }
}

impl Registry for InProcess {
    fn register(&self, instance: Instance) -> BoxFuture<'_, Result<()>> {
        let mut services = self.lock();
        let service = services.entry(instance.service.clone()).or_default();
        service
            .members
            .insert(instance.id.clone(), (Arc::new(instance), env::instant()));
        service.tell();
        Box::pin(async { Ok(()) })
    }

    fn heartbeat<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        let now = env::instant();
        let mut services = self.lock();
        let found = services
            .values_mut()
            .find_map(|service| service.members.get_mut(id));
        let known = found.map(|(_, seen)| *seen = now).is_some();
        Box::pin(async move { Ok(known) })
    }

    fn deregister<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        for service in self.lock().values_mut() {
            if service.members.remove(id).is_some() {
                service.tell();
            }
        }
        Box::pin(async { Ok(()) })
    }

    fn watch(&self, service: &str) -> watch::Receiver<Instances> {
        self.lock()
            .entry(service.to_owned())
            .or_default()
            .told
            .subscribe()
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        let services = self.lock();
        let known = services
            .iter()
            .filter(|(_, service)| !service.members.is_empty());
        let names = known.map(|(name, _)| name.clone()).collect();
        Box::pin(async { Ok(names) })
    }
}

/// Instances that are known beforehand and do not change.
pub struct StaticList(BTreeMap<String, watch::Sender<Instances>>);

impl StaticList {
    /// A list of these instances.
    pub fn new(instances: impl IntoIterator<Item = Instance>) -> Self {
        let mut services: BTreeMap<String, Vec<Arc<Instance>>> = BTreeMap::new();
        for instance in instances {
            services
                .entry(instance.service.clone())
                .or_default()
                .push(Arc::new(instance));
        }
        Self(
            services
                .into_iter()
                .map(|(name, list)| (name, watch::Sender::new(list.into())))
                .collect(),
        )
    }
}

impl Registry for StaticList {
    fn register(&self, _: Instance) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn heartbeat<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { Ok(true) })
    }

    fn deregister<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn watch(&self, service: &str) -> watch::Receiver<Instances> {
        self.0.get(service).map_or_else(
            || watch::Sender::new(Arc::from([])).subscribe(),
            watch::Sender::subscribe,
        )
    }
    fn services(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async { Ok(self.0.keys().cloned().collect()) })
    }
}
