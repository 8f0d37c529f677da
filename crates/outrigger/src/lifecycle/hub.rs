//! The hub: the registry and the bus that outside processes join, served by this one.

use std::net::SocketAddr;

use discovery::{HUB, InProcess, Ttl};
use env::chain;
use events::EmbeddedBus;
use identity::{Keyring, Verifier};
use telemetry::Metrics;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Error, Result, Settings, endpoints, platform, server};

/// A hub that runs. Cheap to clone; a clone is the same hub.
#[derive(Clone)]
pub struct RunningHub {
    address: SocketAddr,
    hub: ::hub::Hub,
    metrics: Metrics,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl RunningHub {
    /// Starts a hub alone, listening on `listen`. Its state lies in the data folder, and whoever has a token that was signed
    /// with the keys there may use it (G10).
    ///
    /// # Errors
    /// [`Error::DataFolder`], [`Error::Listen`], and [`Error::Start`] for its keys or its database.
    pub async fn start(settings: &Settings, listen: SocketAddr) -> Result<Self> {
        let keyring = platform::prepare(settings)?;
        let bus = platform::bus::of_file(settings).await?;
        let hub = Self::with_keys(settings, &keyring, listen, bus).await?;
        let keys = keyring.follow_file(settings.security.refresh);
        let stopped = hub.stop.clone();
        hub.tasks.spawn(stopped.run_until_cancelled_owned(keys));
        Ok(hub)
    }

    pub(crate) async fn with_keys(
        settings: &Settings,
        keyring: &Keyring,
        listen: SocketAddr,
        bus: EmbeddedBus,
    ) -> Result<Self> {
        let listener = env::net::listen(listen)
            .await
            .map_err(super::listening("the hub", listen))?;
        let bound = listener
            .local_addr()
            .map_err(super::listening("the hub", listen))?;
        let url = format!("sqlite:{}", settings.data.join("hub.sqlite").display());
        let options = ::hub::Options {
            ttl: Ttl::of(settings.discovery.ttl),
            verifier: Some(Verifier::new(keyring, HUB)),
            bus: ::hub::bus::Options {
                log: ::hub::bus::Log::Shared(bus),
                ..::hub::bus::Options::default()
            },
            ..::hub::Options::default()
        };
        let hub = ::hub::Hub::open(&url, options)
            .await
            .map_err(Error::start("the hub", "database"))?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let drain = settings.lifecycle.drain;
        let metrics = Metrics::new(HUB);
        let routes = hub.routes().merge(endpoints::figures(metrics.clone()));
        tasks.spawn(server::serve(listener, routes, stop.clone(), drain));
        let (running, stopped) = (hub.clone(), stop.clone());
        tasks.spawn(async move { running.run(stopped).await });
        Ok(Self {
            address: super::reachable(bound),
            hub,
            metrics,
            stop,
            tasks,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The figures of the whole system, which it shows at `/metrics`.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes whoever registered at `address` out of rotation: nobody is there any more.
    pub async fn forget(&self, address: SocketAddr) {
        if let Err(error) = self.hub.forget(address).await {
            tracing::warn!(error = chain(&error), %address, "an instance that is gone stays on the hub's disk");
        }
    }

    /// The registry of those who live and die with this process.
    pub(crate) fn registry(&self) -> &InProcess {
        self.hub.registry()
    }

    /// Stops it; what it knows is on its disk.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
