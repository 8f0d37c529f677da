//! What the services of a running system share: the bus, the registry, the keys, the settings.
//!
//! A [`System`](crate::System) says what there is; a platform says on what it runs. Everything that differs
//! between one process, many, and a simulation is decided where the platform is made.

use std::sync::Arc;

use discovery::{Clients, Configuration, InProcess, Instance, Policies, Registry, StaticList, Ttl};
use events::{Bus, EmbeddedBus, NatsBus, nats};
use identity::{Issuer, Keyring};
use telemetry::Metrics;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Error, Result, Settings, decisions::Decisions};

/// See the [module](self). Cheap to clone.
#[derive(Clone)]
pub struct Platform {
    settings: Arc<Settings>,
    bus: Arc<dyn Bus>,
    /// The bus again, where it is one that is to be told of the end.
    nats: Option<NatsBus>,
    registry: Arc<dyn Registry>,
    keyring: Keyring,
    /// How all that runs here calls others.
    policies: watch::Sender<Arc<Policies>>,
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
            nats: None,
            registry,
            keyring,
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
        let registry = InProcess::new(Ttl::of(settings.discovery.ttl));
        let platform = Self::on(settings, Arc::new(registry.clone())).await?;
        let stop = platform.stop.clone();
        platform
            .tasks
            .spawn(async move { registry.sweep(stop).await });
        Ok(platform)
    }

    /// What one service needs in a process of its own: the others are where `peers` in the settings say. Its files
    /// lie where those of all services do, so the processes of one machine share the keys and, by default, the bus in
    /// the data folder: one process a service, for the members of a group must be in one. What another process has
    /// published is seen there within five seconds.
    ///
    /// # Errors
    /// As [`embedded`](Self::embedded), and [`Error::Start`] for a peer that cannot be found.
    pub async fn alone(settings: Settings) -> Result<Self> {
        let mut peers = Vec::new();
        for (peer, addresses) in &settings.peers {
            for address in addresses.iter() {
                let address = env::net::resolve(address)
                    .await
                    .map_err(Error::start(peer, "address"))?;
                peers.push(Instance::new(peer, address));
            }
        }
        Self::on(settings, Arc::new(StaticList::new(peers))).await
    }

    async fn on(settings: Settings, registry: Arc<dyn Registry>) -> Result<Self> {
        let data = settings.data.clone();
        std::fs::create_dir_all(&data).map_err(|source| Error::DataFolder {
            path: data.clone(),
            source,
        })?;
        let keys = settings
            .security
            .keys
            .clone()
            .unwrap_or_else(|| data.join("keys.json"));
        let keyring = Keyring::open(&keys).map_err(Error::start("the platform", "keys"))?;
        let (bus, nats) = open_bus(&settings).await?;
        let mut platform = Self::new(settings, bus, registry, keyring);
        platform.nats = nats;
        Ok(platform)
    }

    /// The settings that everything on this platform has.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The bus that carries events.
    pub fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
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

    /// Stops what the platform itself runs; the services on it must have stopped before.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(bus) = &self.nats {
            bus.close().await;
        }
    }
}

/// The bus that `settings` name, by default the one in the data folder; and the same, where it is to be told of the end.
pub(crate) async fn open_bus(settings: &Settings) -> Result<(Arc<dyn Bus>, Option<NatsBus>)> {
    let failed = Error::start::<events::Error>("the platform", "bus");
    let url = settings.bus_url();
    if url.reveal().starts_with("sqlite:") {
        let bus = EmbeddedBus::open(url.reveal()).await.map_err(failed)?;
        return Ok((Arc::new(bus), None));
    }
    let bus = NatsBus::connect(url.reveal(), nats::Options::default());
    let bus = bus.await.map_err(failed)?;
    Ok((Arc::new(bus.clone()), Some(bus)))
}
