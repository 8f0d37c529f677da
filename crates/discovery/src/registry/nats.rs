//! The registry in a key-value bucket of NATS JetStream: for systems that have NATS and no hub.
//!
//! Every instance is a key, named for its id, whose value is the instance as JSON; the bucket lets go of what was not
//! written for a TTL, and a heartbeat writes the value again. Any number of processes write: each write names the revision
//! that it replaces, so that of two with one id the second is told.
//!
//! What is guaranteed: each process has a copy, which follows the bucket. While NATS is away the copy stays as it is. When it
//! is back all is read anew, and who is missing is given a whole TTL to come back: nobody leaves because NATS was away,
//! or because it has lost the bucket. What a process has registered itself it sees at once.
//!
//! Every process hears every heartbeat: with 10,000 instances that is some 300 messages a second to each. For so many,
//! take a [hub](super::Hub).

mod bucket;
mod mirror;

use std::{sync::Arc, time::Duration};

use env::BoxError;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{bucket::Bucket, mirror::Mirror};
use super::{Instances, Registry, Ttl};
use crate::{Error, Instance, Result};

/// How long NATS may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// For the network, and for processes that have much else to do.
const SPREAD: Duration = Duration::from_secs(1);

/// What there is to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The bucket; made where there is none. Default `registry`.
    pub bucket: String,
    /// How many servers of a cluster keep it, when it is made. Default 1.
    pub replicas: usize,
    /// How long an instance may be silent. Every process must have the same. Default 90 s.
    pub ttl: Ttl,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bucket: "registry".to_owned(),
            replicas: 1,
            ttl: Ttl::default(),
        }
    }
}

/// See the [module](self). Cheap to clone; when the last clone is gone, what was watched stays as it is.
#[derive(Clone)]
pub struct NatsKv(Arc<Shared>);

struct Shared {
    bucket: Arc<Bucket>,
    mirror: Mirror,
    _stop_when_dropped: DropGuard,
}

impl NatsKv {
    /// The registry at `url`: `nats://` or `tls://`, several hosts with commas between them. NATS need not be there yet. Must
    /// be called within a runtime.
    ///
    /// # Errors
    /// [`Error::RegistryUrl`].
    pub async fn connect(url: &str, options: Options) -> Result<Self> {
        let mirror = Mirror::new(options.ttl);
        let bucket = Arc::new(Bucket::connect(url, options).await?);
        let stop = CancellationToken::new();
        let following = mirror.clone().follow(Arc::clone(&bucket));
        tokio::spawn(stop.clone().run_until_cancelled_owned(following));
        Ok(Self(Arc::new(Shared {
            bucket,
            mirror,
            _stop_when_dropped: stop.drop_guard(),
        })))
    }
}

/// What `answer` comes to, if that is soon.
async fn in_time<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    env::timeout(PATIENCE, answer).await.map_err(away)?
}

/// NATS cannot be reached, or does not do what it should.
fn away(source: impl Into<BoxError>) -> Error {
    let source = source.into();
    Error::Registry { source }
}

impl Registry for NatsKv {
    fn register(&self, instance: Instance) -> BoxFuture<'_, Result<()>> {
        Box::pin(in_time(async move {
            let revision = self.0.bucket.put(&instance).await?;
            self.0.mirror.until(|seen| seen >= revision).await;
            Ok(())
        }))
    }

    fn heartbeat<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(in_time(self.0.bucket.renew(id)))
    }

    fn deregister<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(in_time(async move {
            self.0.bucket.remove(id).await?;
            self.0.mirror.until(|_| !self.0.mirror.has(id)).await;
            Ok(())
        }))
    }

    /// Must be called within a runtime.
    fn watch(&self, service: &str) -> watch::Receiver<Instances> {
        self.0.mirror.watch(service)
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(in_time(self.0.mirror.services()))
    }

    fn spread(&self) -> Duration {
        SPREAD
    }
}
