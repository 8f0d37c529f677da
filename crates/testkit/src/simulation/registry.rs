//! The registry of the simulated machines, which can be away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use discovery::{Error, InProcess, Instance, Registry, Result, Ttl, registry::Instances};
use futures::future::{BoxFuture, ready};
use tokio::sync::watch;

/// While it is down it answers nobody, it misses nobody, and what was watched stays as it was. Clones are handles of one
/// registry.
#[derive(Clone)]
pub(super) struct FaultyRegistry {
    known: InProcess,
    sweep: Duration,
    is_down: Arc<AtomicBool>,
}

impl FaultyRegistry {
    pub(super) fn new(ttl: Ttl) -> Self {
        Self {
            known: InProcess::new(ttl),
            sweep: ttl.sweep,
            is_down: Arc::default(),
        }
    }

    pub(super) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    /// Takes out who has been silent for too long, for ever.
    pub(super) async fn sweep(&self) {
        loop {
            env::sleep(self.sweep).await;
            if self.is_down() {
                continue;
            }
            for instance in self.known.silent() {
                self.known.expel(&instance.id);
            }
        }
    }

    fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    fn unless_down<'a, T: Send + 'a>(
        &self,
        work: impl FnOnce() -> BoxFuture<'a, Result<T>>,
    ) -> BoxFuture<'a, Result<T>> {
        if self.is_down() {
            let source = "it is down (simulated)".into();
            return Box::pin(ready(Err(Error::Registry { source })));
        }
        work() // the registry acts when it is asked, not when it is waited for
    }
}

impl Registry for FaultyRegistry {
    fn register(&self, instance: Instance) -> BoxFuture<'_, Result<()>> {
        self.unless_down(|| self.known.register(instance))
    }

    fn heartbeat<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.unless_down(|| self.known.heartbeat(id))
    }

    fn deregister<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        self.unless_down(|| self.known.deregister(id))
    }

    fn watch(&self, service: &str) -> watch::Receiver<Instances> {
        self.known.watch(service)
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        self.unless_down(|| self.known.services())
    }
}
