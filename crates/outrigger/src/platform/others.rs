//! Where a process of its own finds the others, and they find it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use discovery::{
    Dns, Hub, InProcess, Instance, Kubernetes, NatsKv, StaticList, Ttl,
    registry::{kubernetes::Cluster, nats},
};
use env::chain;
use identity::{CALL, Keyring};

use super::bus;
use crate::{Error, Result, Settings, settings::Registry};

/// An address in no network (RFC 5737): the way to it is the way to anywhere.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// The others, as a process finds them.
pub(super) struct Others {
    pub(super) registry: Arc<dyn discovery::Registry>,
    /// At which address of this machine others reach what listens on all of them, where it registers itself.
    pub(super) own: Option<IpAddr>,
}

/// The way to the others that `settings` choose for `service`.
pub(super) async fn find(settings: &Settings, keyring: &Keyring, service: &str) -> Result<Others> {
    let unusable = |error: discovery::Error| Error::start(service, "registry")(error);
    let ttl = Ttl::of(settings.discovery.ttl);
    let read_only = |registry| Others {
        registry,
        own: None,
    };
    Ok(match chosen(settings)? {
        Registry::InProcess => read_only(Arc::new(InProcess::new(ttl))),
        Registry::Static => read_only(Arc::new(StaticList::new(peers(settings).await?))),
        Registry::Kubernetes(options) => {
            let cluster = Cluster::of_this_pod().map_err(unusable)?;
            let registry = Kubernetes::new(&cluster, &options).map_err(unusable)?;
            read_only(Arc::new(registry))
        }
        Registry::Dns(options) => read_only(Arc::new(Dns::new(options))),
        Registry::Nats(url) => {
            let options = nats::Options {
                ttl,
                ..nats::Options::default()
            };
            let registry = NatsKv::connect(url.reveal(), options).await;
            Others {
                registry: Arc::new(registry.map_err(unusable)?),
                own: Some(on_the_way_anywhere()),
            }
        }
        Registry::Hub(url) => {
            let issuer = bus::issuer(keyring, service, &[CALL]);
            let hub = Hub::new(&url, Some(issuer)).map_err(unusable)?;
            let own = match hub.resolve().await {
                Ok(address) => on_the_way_to(address),
                Err(error) => {
                    tracing::warn!(error = chain(&error), hub = %url, "the hub is not found yet");
                    on_the_way_anywhere()
                }
            };
            Others {
                registry: Arc::new(hub),
                own: Some(own),
            }
        }
    })
}

/// The one registry that the settings choose.
fn chosen(settings: &Settings) -> Result<Registry> {
    let hub = settings.hub.url.clone().map(Registry::Hub);
    let one = settings.discovery.registry.clone();
    if let (Some(one), Some(hub)) = (&one, &hub)
        && one != hub
    {
        return Err(Error::FoundTwice {
            one: format!("the registry {one}"),
            other: "a hub",
        });
    }
    let chosen = one.or(hub).unwrap_or(Registry::Static);
    if chosen != Registry::Static && !settings.peers.is_empty() {
        return Err(Error::FoundTwice {
            one: format!("the registry {chosen}"),
            other: "`peers`",
        });
    }
    Ok(chosen)
}

/// Where the settings say that the others are.
async fn peers(settings: &Settings) -> Result<Vec<Instance>> {
    let mut peers = Vec::new();
    for (peer, addresses) in &settings.peers {
        for address in addresses.iter() {
            let address = env::net::resolve(address)
                .await
                .map_err(Error::start(peer, "address"))?;
            peers.push(Instance::new(peer, address));
        }
    }
    Ok(peers)
}

/// The address of this machine on the way out of it.
pub(super) fn on_the_way_anywhere() -> IpAddr {
    on_the_way_to(ANYWHERE)
}

/// The address of this machine on the way to `other`; where there is no way, whoever comes is on this machine.
fn on_the_way_to(other: SocketAddr) -> IpAddr {
    env::net::local_address_towards(other).unwrap_or_else(|_| env::net::local_address())
}
