//! The registry of a hub, over HTTP.
//!
//! What is guaranteed: while the hub is away, everybody keeps the instances that they know, and tries again for ever,
//! with growing random pauses; what changed meanwhile is known as soon as the hub answers. A hub that is silent for three
//! times as long as it has announced is away.

mod link;
mod listing;
mod sse;
mod watching;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use http::Method;
use identity::Issuer;
use serde::Deserialize;
use tokio::sync::watch;

pub use listing::{Listed, Page};

use self::link::Link;
use super::{Instances, Registry, watches::Watches};
use crate::{Error, Instance, Result};

/// The hub's name: the audience of the tokens that it asks for.
pub const HUB: &str = "hub";

/// The header by which a hub announces how often a watch says at least that it is there, in milliseconds.
pub const KEEP_ALIVE: &str = "x-keep-alive-ms";

const LIST: &str = "/v1/registry/instances";
/// After so many instances no further page is asked for.
const MOST: usize = 100_000;

/// The hub tells of a change at once; this is for the network, and for processes that have much else to do.
const SPREAD: Duration = Duration::from_secs(1);

/// The registry of a hub. Cheap to clone; a clone shares connections and what is watched. When the last clone is gone,
/// what was watched stays as it is.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    link: Arc<Link>,
    watches: Watches,
}

impl Hub {
    /// The hub at `url`, such as `http://hub:7700`, or `https://hub.example?ca=/etc/shop/ca.pem` as
    /// [`Origin::parse`](env::http::Origin::parse) reads it. It is asked for nothing yet, and need not be there. Where it asks for
    /// tokens, `issuer` must be granted [`CALL`](identity::CALL) for [`HUB`].
    ///
    /// # Errors
    /// [`Error::HubUrl`].
    pub fn new(url: &str, issuer: Option<Issuer>) -> Result<Self> {
        Ok(Self(Arc::new(Shared {
            link: Arc::new(Link::new(url, issuer)?),
            watches: Watches::new(),
        })))
    }

    /// Where the hub is now, as far as names tell.
    ///
    /// # Errors
    /// [`Error::Registry`] where its name is not known, at the moment.
    pub async fn resolve(&self) -> Result<SocketAddr> {
        self.0.link.resolve().await
    }

    /// Every instance of every service, by id, and when the hub last heard of it.
    ///
    /// # Errors
    /// [`Error::Registry`] where the hub does not answer, [`Error::Refused`] where it refuses.
    pub async fn instances(&self) -> Result<Vec<Listed>> {
        let mut found = Vec::new();
        let mut path = LIST.to_owned();
        loop {
            let answer = self.0.link.ask(Method::GET, &path, Vec::new()).await?;
            let page: Page = serde_json::from_slice(&answer).map_err(Link::away)?;
            found.extend(page.instances);
            match page.next {
                // Each page begins behind the one before, so a hub that is one comes to an end.
                Some(next) if found.len() < MOST => path = format!("{LIST}?after={next}"),
                _ => return Ok(found),
            }
        }
    }
}

#[derive(Deserialize)]
struct Services {
    services: Vec<String>,
}

impl Registry for Hub {
    fn register(&self, instance: Instance) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let path = link::path("/v1/registry/instances/{id}", &instance.id);
            let body = serde_json::to_vec(&instance).map_err(Link::away)?;
            match self.0.link.ask(Method::PUT, &path, body).await {
                Err(Error::Refused { problem }) if problem.kind() == "duplicate-id" => {
                    let service = problem.members.get("service");
                    let service = service.and_then(|service| service.as_str());
                    Err(Error::DuplicateId {
                        id: instance.id,
                        service: service.unwrap_or("another service").to_owned(),
                    })
                }
                answer => answer.map(drop),
            }
        })
    }

    fn heartbeat<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let path = link::path("/v1/registry/instances/{id}/heartbeat", id);
            match self.0.link.ask(Method::POST, &path, Vec::new()).await {
                Ok(_) => Ok(true),
                Err(Error::Refused { problem }) if problem.kind() == "unknown-instance" => {
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        })
    }

    fn deregister<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let path = link::path("/v1/registry/instances/{id}", id);
            let answer = self.0.link.ask(Method::DELETE, &path, Vec::new()).await;
            answer.map(drop)
        })
    }

    /// Must be called within a runtime.
    fn watch(&self, service: &str) -> watch::Receiver<Instances> {
        self.0.watches.watch(service, |told| {
            let watching = watching::Watching {
                link: Arc::clone(&self.0.link),
                service: service.to_owned(),
                told,
            };
            watching.run()
        })
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move {
            let path = "/v1/registry/services";
            let answer = self.0.link.ask(Method::GET, path, Vec::new()).await?;
            let found: Services = serde_json::from_slice(&answer).map_err(Link::away)?;
            Ok(found.services)
        })
    }

    fn spread(&self) -> Duration {
        SPREAD
    }
}
