//! The seam of discovery: who is where.
//!
//! | backend | where the instances are kept |
//! |---|---|
//! | [`InProcess`] | in the memory of this process |
//! | [`Hub`] | at a hub, over HTTP; `outrigger-hub` is the server |
//! | `NatsKv` | in a bucket of NATS JetStream; with the feature `nats` |
//! | [`Kubernetes`] | in the EndpointSlices of a cluster, as its own controllers keep them |
//! | [`Dns`] | in the addresses of a name |
//! | [`StaticList`] | nowhere: they are known beforehand |

pub mod dns;
mod hub;
mod in_process;
mod instances;
pub mod kubernetes;
#[cfg(feature = "nats")]
pub mod nats;
mod static_list;
mod watches;

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::{Instance, Result};

pub use dns::Dns;
pub use hub::{HUB, Hub, KEEP_ALIVE, Listed, Page};
pub use in_process::{InProcess, Known};
pub use instances::Instances;
pub use kubernetes::Kubernetes;
#[cfg(feature = "nats")]
pub use nats::NatsKv;
pub use static_list::StaticList;

/// Knows which instances of which services there are.
///
/// By default it is read only: whoever keeps it elsewhere knows who comes and goes, so an instance that says so is
/// heard by nobody, and that is well.
pub trait Registry: Send + Sync + 'static {
    /// Adds an instance, or replaces the one with its id.
    ///
    /// # Errors
    /// [`DuplicateId`](crate::Error::DuplicateId) where another service has an instance of that id;
    /// [`Registry`](crate::Error::Registry) where the registry does not answer.
    fn register(&self, _instance: Instance) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
    /// Says that the instance lives. False where the registry does not know it (any more): it must be registered again.
    fn heartbeat<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { Ok(true) })
    }
    /// Takes the instance out of rotation, at once. One that is not there is well.
    fn deregister<'a>(&'a self, _id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
    /// The instances of `service`, and every change of them; [unknown](Instances::is_known) until the registry has said
    /// for the first time which there are. Where it is away, they stay as they were.
    fn watch(&self, service: &str) -> watch::Receiver<Instances>;
    /// The services that have an instance, by name.
    fn services(&self) -> BoxFuture<'_, Result<Vec<String>>>;
    /// How long it may take, where nothing fails, until everybody who watches has heard of a change. Who leaves goes on
    /// serving for so long. Default: no time at all.
    fn spread(&self) -> Duration {
        Duration::ZERO
    }
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
