//! What the services of a running system share: the bus, the registry, the keys, the settings.
//!
//! A [`System`](crate::System) says what there is; a platform says on what it runs. Everything that differs
//! between one process, many, and a simulation is decided where the platform is made.

pub(crate) mod bus;
mod others;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use discovery::{Clients, Configuration, InProcess, Policies, Registry, Ttl};
use env::config::Secret;
use events::{Bus, HubBus};
use identity::{CALL, Issuer, Keyring};
use telemetry::Metrics;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use bus::Opened;

use crate::{Error, Result, RunningHub, Settings, decisions::Decisions};

/// See the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct Platform {
    settings: Arc<Settings>,
    bus: Arc<dyn Bus>,
    /// The bus again, where it is that of a hub, which is told who asks.
    at_hub: Option<HubBus>,
    registry: Arc<dyn Registry>,
    keyring: Keyring,
    /// How all that runs here calls others.
    policies: watch::Sender<Arc<Policies>>,
    hub: Option<RunningHub>,
    /// At which address of this machine others reach what listens on all of them.
    own: IpAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Platform {
    /// A platform of given parts.
    pub fn new(
        settings: Settings,
        bus: Arc<dyn Bus>,
        registry: Arc<dyn Registry>,
        keyring: Keyring,
    ) -> Self {
        Self {
            policies: watch::Sender::new(Arc::new(settings.calls.policies())),
            settings: Arc::new(settings),
            bus,
            at_hub: None,
            registry,
            keyring,
            hub: None,
            own: env::net::local_address(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// The parts of one process: the bus that the settings name, by default one in the data folder, and a registry in
    /// memory.
    ///
    /// # Errors
    /// [`Error::DataFolder`], and [`Error::Start`] for a bus or keys that cannot be opened.
    pub async fn embedded(settings: Settings) -> Result<Self> {
        let keyring = prepare(&settings)?;
        let registry = InProcess::new(Ttl::of(settings.discovery.ttl));
        let platform = Self::on(settings, keyring, Arc::new(registry.clone())).await?;
        let stop = platform.stop.clone();
        platform
            .tasks
            .spawn(async move { registry.sweep(stop).await });
        Ok(platform)
    }

    /// The same, where processes outside can join: the registry is that of a hub, which listens on `listen`, and serves the
    /// embedded bus, too.
    ///
    /// # Errors
    /// As [`embedded`](Self::embedded) and [`RunningHub::start`].
    pub async fn with_hub(settings: Settings, listen: SocketAddr) -> Result<Self> {
        let keyring = prepare(&settings)?;
        let bus = Opened::open(&settings, &keyring).await?;
        let served = match &bus {
            Opened::Embedded(bus) => bus.clone(),
            Opened::AtHub(_) | Opened::Nats(_) => bus::of_file(&settings).await?,
        };
        let hub = RunningHub::with_keys(&settings, &keyring, listen, served).await?;
        let registry = Arc::new(hub.registry().clone());
        let mut platform = Self::of(settings, keyring, bus, registry);
        if listen.ip().is_unspecified() {
            platform.own = others::on_the_way_anywhere();
        }
        platform.hub = Some(hub);
        Ok(platform)
    }

    /// What `service` (or the gateway) needs in a process of its own. The others are where `discovery.registry` says: by
    /// default at the hub that the settings name, which it joins as soon as the hub is there, and whose bus it uses unless they
    /// name another; and without a hub where `peers` say. Its files lie where those of all services do, so the processes of
    /// one machine share the keys and, without a hub, by default the bus in the data folder: one process a service then, for
    /// the members of a group must be in one. What another process has published is seen there within five seconds.
    ///
    /// # Errors
    /// As [`embedded`](Self::embedded), [`Error::FoundTwice`], and [`Error::Start`] for a registry or a peer that cannot be
    /// asked.
    pub async fn alone(mut settings: Settings, service: &str) -> Result<Self> {
        let keyring = prepare(&settings)?;
        let others = others::find(&settings, &keyring, service).await?;
        if let Some(url) = settings.hub_url().map(Secret::new) {
            settings.messaging.bus.get_or_insert(url);
        }
        let mut platform = Self::on(settings, keyring, others.registry).await?;
        platform.own = others.own.unwrap_or(platform.own);
        Ok(platform)
    }

    async fn on(settings: Settings, keyring: Keyring, registry: Arc<dyn Registry>) -> Result<Self> {
        let bus = Opened::open(&settings, &keyring).await?;
        Ok(Self::of(settings, keyring, bus, registry))
    }

    fn of(settings: Settings, keyring: Keyring, bus: Opened, registry: Arc<dyn Registry>) -> Self {
        let keys = keyring.clone().follow_file(settings.security.refresh);
        let mut platform = Self::new(settings, bus.seam(), registry, keyring);
        if let Opened::AtHub(bus) = bus {
            platform.at_hub = Some(bus);
        }
        platform.spawn(keys);
        platform
    }

    /// The settings that everything on this platform has.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The bus that carries events, for who looks after all services.
    pub fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
    }

    /// The same, for what `service` publishes and handles.
    pub fn bus_of(&self, service: &str) -> Arc<dyn Bus> {
        match &self.at_hub {
            Some(hub) => Arc::new(hub.with_token(bus::token(&self.keyring, service, &[CALL]))),
            None => Arc::clone(&self.bus),
        }
    }

    /// The registry that knows who is where.
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.registry
    }

    /// The keys that service tokens are signed with.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// How calls are made here now. What is sent here holds for all that runs on this platform.
    pub(crate) fn policies(&self) -> &watch::Sender<Arc<Policies>> {
        &self.policies
    }

    /// Clients that call others as the policies here say, and tell `metrics` what is decided.
    pub(crate) fn clients(&self, issuer: Issuer, metrics: &Metrics) -> Clients {
        let configuration = Configuration {
            policies: self.policies.subscribe(),
            observer: Some(Arc::new(Decisions(metrics.clone()))),
            metrics: Some(metrics.clone()),
        };
        Clients::configured(self.registry.clone(), Some(issuer), configuration)
    }

    /// Runs `task` until this platform stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// Where the hub of this platform listens, if it has one.
    pub fn hub(&self) -> Option<SocketAddr> {
        self.hub.as_ref().map(RunningHub::address)
    }

    /// The figures of the whole system, which its hub shows, if it has one.
    pub fn metrics(&self) -> Option<&Metrics> {
        self.hub.as_ref().map(RunningHub::metrics)
    }

    /// Where others reach what listens on `address` here.
    pub(crate) fn advertised(&self, address: SocketAddr) -> SocketAddr {
        match self.settings.discovery.advertise {
            Some(set) => set.of_port(address.port()),
            None if address.ip().is_unspecified() => SocketAddr::new(self.own, address.port()),
            None => {
                if address.ip().is_loopback() && !self.own.is_loopback() {
                    tracing::warn!(
                        %address,
                        "it listens on this machine only, where processes on others do not reach it: see --listen"
                    );
                }
                address
            }
        }
    }

    /// Stops what the platform itself runs; the services on it must have stopped before.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.bus.close().await;
        if let Some(hub) = &self.hub {
            hub.stop().await;
        }
    }
}

/// Makes the data folder, and the keys where there are none yet.
pub(crate) fn prepare(settings: &Settings) -> Result<Keyring> {
    let data = settings.data.clone();
    std::fs::create_dir_all(&data).map_err(|source| Error::DataFolder { path: data, source })?;
    Keyring::open(&settings.keys_file()).map_err(Error::start("the platform", "keys"))
}
