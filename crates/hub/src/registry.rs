//! The registry in memory, and the same on disk.
//!
//! Who joins is on disk before it is in rotation, so that an acknowledged registration outlives the hub. Who leaves is out
//! of rotation before that is on disk: should the disk fail, an instance that is gone comes back for one TTL after a
//! restart, which is better than requests that go to it now.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
};

use data::Database;
use discovery::{InProcess, Instance, Registry, Ttl};
use env::chain;
use futures::future::join_all;
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::{Error, Result, store::Store};

/// How many changes of different ids are written at once, so that they share the disk's syncs.
const LANES: usize = 64;

pub(crate) struct Durable {
    memory: InProcess,
    store: Store,
    ttl: Ttl,
    limit: usize,
    /// Changes of one id come one after another, in memory and on disk in the same order.
    lanes: Vec<Mutex<()>>,
}

impl Durable {
    pub(crate) async fn open(db: Database, ttl: Ttl, limit: usize) -> Result<Self> {
        let store = Store::open(db).await?;
        let memory = InProcess::new(ttl);
        for instance in store.all().await? {
            for displaced in memory.enter(instance)? {
                store.remove(&displaced).await?;
            }
        }
        Ok(Self {
            memory,
            store,
            ttl,
            limit,
            lanes: (0..LANES).map(|_| Mutex::default()).collect(),
        })
    }

    pub(crate) fn memory(&self) -> &InProcess {
        &self.memory
    }

    pub(crate) async fn ping(&self) -> Result<()> {
        self.store.ping().await
    }

    /// Returns whether the instance is a new one.
    pub(crate) async fn register(&self, instance: Instance) -> Result<bool> {
        let turn = self.turn(&instance.id).await;
        let before = self.memory.find(&instance.id);
        match &before {
            None if self.memory.len() >= self.limit => {
                return Err(Error::Full { limit: self.limit });
            }
            Some(before) if before.service != instance.service => {
                return Err(discovery::Error::DuplicateId {
                    id: instance.id,
                    service: before.service.clone(),
                }
                .into());
            }
            // Registered again, as after an outage: the disk knows it already.
            Some(before) if **before == instance => {}
            _ => self.store.put(&instance).await?,
        }
        let displaced = self.memory.enter(instance)?;
        drop(turn);
        for id in displaced {
            self.erase(&id).await?;
        }
        Ok(before.is_none())
    }

    /// Takes one that is out of rotation from the disk too, unless it came back meanwhile.
    async fn erase(&self, id: &str) -> Result<()> {
        let _turn = self.turn(id).await;
        match self.memory.find(id) {
            Some(_) => Ok(()),
            None => self.store.remove(id).await,
        }
    }

    /// Takes all that registered at `address` out.
    pub(crate) async fn forget(&self, address: SocketAddr) -> Result<()> {
        for id in self.memory.at(address) {
            self.deregister(&id).await?;
        }
        Ok(())
    }

    pub(crate) async fn heartbeat(&self, id: &str) -> Result<bool> {
        Ok(self.memory.heartbeat(id).await?)
    }

    pub(crate) async fn deregister(&self, id: &str) -> Result<()> {
        let _turn = self.turn(id).await;
        self.memory.deregister(id).await?;
        self.store.remove(id).await
    }

    /// Takes silent instances out, until `stop`.
    pub(crate) async fn sweep(&self, stop: CancellationToken) {
        let pause = self.ttl.sweep;
        while stop.run_until_cancelled(env::sleep(pause)).await.is_some() {
            let silent = self.memory.silent();
            join_all(silent.iter().map(|instance| self.expel(instance))).await;
        }
    }

    async fn expel(&self, instance: &Instance) {
        let _turn = self.turn(&instance.id).await;
        if !self.memory.expel(&instance.id) {
            return;
        }
        let (service, id) = (&instance.service, &instance.id);
        tracing::warn!(service, id, "an instance was silent for too long");
        if let Err(error) = self.store.remove(id).await {
            tracing::error!(error = %chain(&error), service, id, "a silent instance stays on disk");
        }
    }

    async fn turn(&self, id: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let lane = usize::try_from(hasher.finish()).unwrap_or_default() % LANES;
        self.lanes[lane].lock().await
    }
}
