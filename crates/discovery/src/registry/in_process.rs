//! A registry in the memory of this process.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::Bound::{Excluded, Unbounded},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use env::Instant;
use futures::future::{BoxFuture, ready};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Instances, Registry, Ttl};
use crate::{Error, Instance, Result};

/// A registry in memory. Cheap to clone; a clone is the same registry.
#[derive(Clone)]
pub struct InProcess(Arc<Shared>);

struct Shared {
    ttl: Ttl,
    state: Mutex<State>,
}

struct State {
    services: BTreeMap<String, Service>,
    /// The service of every id.
    owners: BTreeMap<String, String>,
    /// The ids at every address.
    places: BTreeMap<SocketAddr, BTreeSet<String>>,
    /// When silence was last looked for.
    swept: Instant,
}

struct Service {
    members: BTreeMap<String, Member>,
    told: watch::Sender<Instances>,
}

struct Member {
    instance: Arc<Instance>,
    heard: Instant,
}

/// An instance, and for how long it has been silent.
#[derive(Debug, Clone)]
pub struct Known {
    /// The instance.
    pub instance: Arc<Instance>,
    /// How long ago it was last heard of.
    pub silence: Duration,
}

impl InProcess {
    /// An empty registry.
    pub fn new(ttl: Ttl) -> Self {
        Self(Arc::new(Shared {
            ttl,
            state: Mutex::new(State {
                services: BTreeMap::new(),
                owners: BTreeMap::new(),
                places: BTreeMap::new(),
                swept: env::instant(),
            }),
        }))
    }

    /// Adds an instance, or replaces the one with its id. Nobody else is at its address any more: another one of its
    /// service that was registered there leaves, and so does one of another service that has missed a heartbeat. Returns the
    /// ids of those who left.
    ///
    /// # Errors
    /// [`Error::DuplicateId`].
    pub fn enter(&self, instance: Instance) -> Result<Vec<String>> {
        let patience = self.0.ttl.limit / 3;
        self.lock().insert(instance, patience)
    }

    /// The ids of those who registered at `address`.
    pub fn at(&self, address: SocketAddr) -> Vec<String> {
        let state = self.lock();
        let ids = state.places.get(&address).into_iter().flatten();
        ids.cloned().collect()
    }

    /// Takes silent instances out, until `stop`.
    pub async fn sweep(&self, stop: CancellationToken) {
        let pause = self.0.ttl.sweep;
        while stop.run_until_cancelled(env::sleep(pause)).await.is_some() {
            for instance in self.silent() {
                self.expel(&instance.id);
            }
        }
    }

    /// The instances that have been silent for longer than they may. To be asked once every [`Ttl::sweep`]: when much
    /// more time has passed, this process stood still and could hear nobody, so that time counts against none.
    pub fn silent(&self) -> Vec<Arc<Instance>> {
        let ttl = self.0.ttl;
        let now = env::instant();
        let mut state = self.lock();
        let late = now
            .saturating_duration_since(state.swept)
            .saturating_sub(ttl.sweep);
        state.swept = now;
        let services = state.services.values_mut();
        let members = services.flat_map(|service| service.members.values_mut());
        let mut silent = Vec::new();
        for member in members {
            if late > ttl.sweep {
                member.heard = (member.heard + late).min(now);
            }
            if member.is_silent(ttl, now) {
                silent.push(Arc::clone(&member.instance));
            }
        }
        silent
    }

    /// Takes the instance out if it is still silent; returns whether it was.
    pub fn expel(&self, id: &str) -> bool {
        let now = env::instant();
        let mut state = self.lock();
        let silent = state
            .member(id)
            .is_some_and(|member| member.is_silent(self.0.ttl, now));
        if silent {
            state.remove(id);
        }
        silent
    }

    /// The instance of this id.
    pub fn find(&self, id: &str) -> Option<Arc<Instance>> {
        let mut state = self.lock();
        state.member(id).map(|member| Arc::clone(&member.instance))
    }

    /// The instances of `service`, or of all, by id: at most `limit`, those after the id `after`.
    pub fn list(&self, service: Option<&str>, after: &str, limit: usize) -> Vec<Known> {
        let now = env::instant();
        let state = self.lock();
        let ids = state.owners.range::<str, _>((Excluded(after), Unbounded));
        ids.filter(|(_, owner)| service.is_none_or(|service| service == *owner))
            .filter_map(|(id, owner)| state.services.get(owner)?.members.get(id))
            .take(limit)
            .map(|member| Known {
                instance: Arc::clone(&member.instance),
                silence: now.saturating_duration_since(member.heard),
            })
            .collect()
    }

    /// How many instances there are.
    pub fn len(&self) -> usize {
        self.lock().owners.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn member(&mut self, id: &str) -> Option<&mut Member> {
        let service = self.services.get_mut(self.owners.get(id)?)?;
        service.members.get_mut(id)
    }

    fn insert(&mut self, instance: Instance, patience: Duration) -> Result<Vec<String>> {
        let id = instance.id.clone();
        let name = instance.service.clone();
        let address = instance.address;
        if let Some(owner) = self.owners.get(&id)
            && *owner != name
        {
            let service = owner.clone();
            return Err(Error::DuplicateId { id, service });
        }
        let displaced = self.displaced(&instance, patience);
        for gone in &displaced {
            self.remove(gone);
        }
        self.owners.insert(id.clone(), name.clone());
        let service = self.services.entry(name).or_default();
        let member = Member {
            instance: Arc::new(instance),
            heard: env::instant(),
        };
        let before = service.members.insert(id.clone(), member);
        service.tell();
        if let Some(before) = before {
            self.vacate(before.instance.address, &id);
        }
        self.places.entry(address).or_default().insert(id);
        Ok(displaced)
    }

    /// Who cannot be where `instance` is.
    fn displaced(&mut self, instance: &Instance, patience: Duration) -> Vec<String> {
        let now = env::instant();
        let there = self.places.get(&instance.address).cloned();
        let mut displaced: Vec<_> = there.into_iter().flatten().collect();
        displaced.retain(|id| {
            *id != instance.id
                && self.member(id).is_some_and(|member| {
                    member.instance.service == instance.service
                        || now.saturating_duration_since(member.heard) > patience
                })
        });
        displaced
    }

    fn remove(&mut self, id: &str) {
        let Some(name) = self.owners.remove(id) else {
            return;
        };
        let Some(service) = self.services.get_mut(&name) else {
            return;
        };
        let member = service.members.remove(id);
        service.tell();
        // Names are chosen by whoever registers: those that nobody uses or watches must not pile up.
        if service.members.is_empty() && service.told.is_closed() {
            self.services.remove(&name);
        }
        if let Some(member) = member {
            self.vacate(member.instance.address, id);
        }
    }

    fn vacate(&mut self, address: SocketAddr, id: &str) {
        if let Some(ids) = self.places.get_mut(&address) {
            ids.remove(id);
            if ids.is_empty() {
                self.places.remove(&address);
            }
        }
    }
}

impl Member {
    fn is_silent(&self, ttl: Ttl, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= ttl.limit
    }
}

impl Default for Service {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            told: watch::Sender::new(Instances::from_iter([])),
        }
    }
}

impl Service {
    fn tell(&self) {
        let members = self.members.values();
        let instances = members.map(|member| Arc::clone(&member.instance)).collect();
        self.told.send_replace(instances);
    }
}

impl Registry for InProcess {
    fn register(&self, instance: Instance) -> BoxFuture<'_, Result<()>> {
        let outcome = self.enter(instance).map(drop);
        Box::pin(ready(outcome))
    }

    fn heartbeat<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        let now = env::instant();
        let mut state = self.lock();
        let known = state.member(id).map(|member| member.heard = now).is_some();
        Box::pin(ready(Ok(known)))
    }

    fn deregister<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        self.lock().remove(id);
        Box::pin(ready(Ok(())))
    }

    fn watch(&self, service: &str) -> watch::Receiver<Instances> {
        let mut state = self.lock();
        // Nor may the names that somebody watched once.
        state
            .services
            .retain(|_, service| !service.members.is_empty() || !service.told.is_closed());
        let service = state.services.entry(service.to_owned()).or_default();
        service.told.subscribe()
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        let state = self.lock();
        let known = state
            .services
            .iter()
            .filter(|(_, service)| !service.members.is_empty());
        let names = known.map(|(name, _)| name.clone()).collect();
        Box::pin(ready(Ok(names)))
    }
}
