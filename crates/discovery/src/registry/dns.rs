//! Instances by DNS: each service is a name whose addresses are its instances, such as a headless Service of
//! Kubernetes, or what Consul and Docker Compose answer.
//!
//! What is guaranteed: the name is looked up again and again, for as long as somebody watches, and a look-up that fails
//! changes nothing: what is known stays in use. Of a name that was never found it is known that there is nobody.
//!
//! It is read only: registering does nothing, for whoever keeps the names does that. Who leaves a name is heard of within
//! [`every`](Options::every), and for as long as resolvers on the way keep their answers.

use std::{fmt, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use env::{SignedDuration, chain};
use futures::future::BoxFuture;
use resilience::retry::Backoff;
use tokio::sync::watch;

use super::{
    Instances, Registry,
    watches::{self, Told, Watches},
};
use crate::{Error, Instance, Result, balance::chance};

const PLACE: &str = "{service}";
/// How long a resolver may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before a look-up that failed is tried again, unless the next one is due before.
const AGAIN: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(10),
};
/// The time between two look-ups is up to a fifth shorter or longer, so that processes that start together do not
/// ask together.
const JITTER: f64 = 0.2;
/// For the network, and for processes that have much else to do.
const SPREAD: Duration = Duration::from_secs(1);
/// The most instances of a service.
const MOST: usize = 1_000;

/// Which names are looked up, and how often. Read from text: `dns://{service}.shop.local:8080?every=5s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The host, with `{service}` where the name of the service belongs: `{service}.shop.local`.
    pub host: String,
    /// The port of all instances.
    pub port: u16,
    /// The time between two look-ups, from 1 s to 60 s. Default 5 s.
    pub every: Duration,
}

impl Options {
    /// The shortest and the longest time between two look-ups.
    const EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

    fn name_of(&self, service: &str) -> String {
        format!("{}:{}", self.host.replace(PLACE, service), self.port)
    }
}

impl FromStr for Options {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        let parse = || {
            let rest = url.strip_prefix("dns://")?;
            let (name, every) = match rest.split_once("?every=") {
                Some((name, every)) => (name, Some(every)),
                None => (rest, None),
            };
            let (host, port) = name.split_once(':')?;
            let port = port.parse().ok().filter(|port| *port != 0)?;
            let is_name = host.contains(PLACE)
                && host
                    .replace(PLACE, "")
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
            let every = match every {
                None => Duration::from_secs(5),
                Some(text) => Duration::try_from(text.parse::<SignedDuration>().ok()?).ok()?,
            };
            let (shortest, longest) = Self::EVERY;
            (is_name && (shortest..=longest).contains(&every)).then(|| Self {
                host: host.to_owned(),
                port,
                every,
            })
        };
        parse().ok_or_else(|| Error::RegistryUrl {
            reason: "write DNS as `dns://{service}.shop.local:8080`, with `?every=5s` behind it for a time from 1s to 60s \
                     between two look-ups"
                .to_owned(),
        })
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let every = self.every.as_secs_f64();
        write!(f, "dns://{}:{}?every={every}s", self.host, self.port)
    }
}

/// See the [module](self). Cheap to clone; when the last clone is gone, what was watched stays as it is.
#[derive(Clone)]
pub struct Dns(Arc<Shared>);

struct Shared {
    options: Options,
    watches: Watches,
}

impl Dns {
    /// Looks names up as `options` say. None is looked up yet.
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Shared {
            options,
            watches: Watches::new(),
        }))
    }
}

impl Registry for Dns {
    /// Must be called within a runtime.
    fn watch(&self, service: &str) -> watch::Receiver<Instances> {
        self.0.watches.watch(service, |told| {
            let looking = Looking {
                name: self.0.options.name_of(service),
                service: service.to_owned(),
                every: self.0.options.every,
                told,
            };
            looking.run()
        })
    }

    /// Those that are watched: nobody can ask DNS which names it has.
    fn services(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async { Ok(self.0.watches.with_instances()) })
    }

    fn spread(&self) -> Duration {
        self.0.options.every.mul_f64(1.0 + JITTER) + SPREAD
    }
}

/// One name, looked up again and again.
struct Looking {
    name: String,
    service: String,
    every: Duration,
    told: Told,
}

impl Looking {
    async fn run(self) {
        let mut failures = 0_u32;
        loop {
            match self.look().await {
                Ok(addresses) => {
                    failures = 0;
                    self.tell(addresses);
                }
                Err(error) => {
                    if failures == 0 {
                        let (service, error) = (&self.service, chain(&error));
                        tracing::warn!(
                            error,
                            service,
                            name = self.name,
                            "the name is not found; what is known of its instances stays in use"
                        );
                    }
                    failures = failures.saturating_add(1);
                    if !self.told.borrow().is_known() {
                        self.tell(Vec::new());
                    }
                }
            }
            env::sleep(self.pause(failures)).await;
        }
    }

    async fn look(&self) -> std::io::Result<Vec<SocketAddr>> {
        env::timeout(PATIENCE, env::net::resolve_all(&self.name)).await?
    }

    fn pause(&self, failures: u32) -> Duration {
        let regular = self.every.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance());
        match failures {
            0 => regular,
            _ => regular.min(AGAIN.wait(failures, chance())),
        }
    }

    /// Tells of these, if others were known.
    fn tell(&self, mut addresses: Vec<SocketAddr>) {
        // A machine with addresses of both families is one instance: it is that of the family that the system prefers.
        if let Some(first) = addresses.first().copied() {
            addresses.retain(|address| address.is_ipv4() == first.is_ipv4());
        }
        addresses.truncate(MOST);
        let found = addresses.into_iter().map(|address| Instance {
            id: format!("{}@{address}", self.service),
            ..Instance::new(&self.service, address)
        });
        watches::tell(&self.told, found.collect());
    }
}
