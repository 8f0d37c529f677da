//! What both sides do.

use std::net::{Ipv4Addr, SocketAddr};

use discovery::Instance;

use super::load::Seen;
use crate::Result;

/// Which instance of which service.
#[derive(Clone, Copy)]
pub struct Place {
    pub service: usize,
    pub number: usize,
}

impl Place {
    /// The instance there, after so many changes.
    pub fn instance(self, change: u64) -> Instance {
        let Self { service, number } = self;
        let [.., high, low] = (number as u32).to_be_bytes();
        let address = Ipv4Addr::new(10, service as u8, high, low);
        let mut instance = Instance::new(&name(service), SocketAddr::from((address, 7_001)));
        instance.id = format!("{}-{number}", name(service));
        instance.zone = Some("eu-central-1a".to_owned());
        instance.version(&change.to_string())
    }
}

/// The name of a service.
pub fn name(service: usize) -> String {
    format!("service-{service}")
}

/// After how many changes the instance is as it is.
pub fn change_of(instance: &Instance) -> u64 {
    instance.version.parse().unwrap_or_default()
}

/// A registry.
pub trait Side: Send + Sync + 'static {
    /// Registers the instance, as it is after so many changes.
    fn put(&self, place: Place, change: u64) -> impl Future<Output = Result<()>> + Send;
    /// Says that it lives, as it was registered.
    fn heartbeat(&self, place: Place) -> impl Future<Output = Result<()>> + Send;
    /// Watches a service over a connection of its own, and tells each state of its first instance.
    fn watch(&self, service: usize, seen: Seen) -> impl Future<Output = Result<()>> + Send;
    /// The process of the server.
    fn process(&self) -> Result<u32>;
}
