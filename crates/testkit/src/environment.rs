//! A system in the test's own process, or the part of it that a test is about.
//!
//! Everything is real but small: services on free ports, each with its database in a temporary folder, a gateway
//! in front, a bus whose events are recorded. A service that is not started can be played by a [stub](Builder::stub).
//!
//! ```no_run
//! # fn system() -> outrigger::System { outrigger::System::new("shop") }
//! # async fn test() -> Result<(), Box<dyn std::error::Error>> {
//! use outrigger_testkit::TestEnvironment;
//! use serde_json::json;
//!
//! let env = TestEnvironment::start(system()).await?;
//! let answer = env.post("/users", json!({"email": "ada@example.com", "name": "Ada"})).await?;
//! assert_eq!(answer.status, 201);
//! env.eventually("the user is told of", async || env.events("user.registered").pop()).await?;
//! env.stop().await;
//! # Ok(()) }
//! ```

mod builder;
mod error;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use discovery::{InProcess, Instance, Ttl, registrar};
use events::{Bus, CloudEvent, DeadLetters, EmbeddedBus, NatsBus, nats};
use identity::{Issuer, Keyring};
use outrigger::{
    Context, GatewayClient, Inspection, Platform, RunningGateway, RunningService, Settings, System,
    client::{Answer, NoAnswer},
    invariant::BUS,
    server,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::Recorder;

pub use builder::Builder;
pub use error::Error;

/// A free port of this machine.
const FREE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// How long [`TestEnvironment::eventually`] waits.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// See the [module](self). A test that drops it without [stopping](Self::stop) leaves what runs to the end of its
/// own runtime.
pub struct TestEnvironment {
    system: System,
    platform: Platform,
    recorder: Recorder,
    services: BTreeMap<String, RunningService>,
    gateway: Option<RunningGateway>,
    client: GatewayClient,
    stop: CancellationToken,
    tasks: TaskTracker,
    // Last: the databases lie here.
    _folder: TempDir,
}

impl TestEnvironment {
    /// Starts the whole of `system`.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub async fn start(system: System) -> Result<Self, Error> {
        Self::of(system).start().await
    }

    /// Says what of `system` is started.
    pub fn of(system: System) -> Builder {
        Builder::new(system)
    }

    async fn empty(system: System, folder: TempDir, settings: Settings) -> Result<Self, Error> {
        let recorder = Recorder::new(open_bus(&settings).await?);
        let bus: Arc<dyn Bus> = Arc::new(recorder.clone());
        let registry = InProcess::new(Ttl::of(settings.discovery.ttl));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (sweeping, until) = (registry.clone(), stop.clone());
        tasks.spawn(async move { sweeping.sweep(until).await });
        Ok(Self {
            system,
            platform: Platform::new(settings, bus, Arc::new(registry), Keyring::generate()),
            recorder,
            services: BTreeMap::new(),
            gateway: None,
            client: GatewayClient::new(FREE),
            stop,
            tasks,
            _folder: folder,
        })
    }

    async fn start_stub(&mut self, service: &str, routes: Router) -> Result<(), env::BoxError> {
        let settings = self.platform.settings();
        let listener = env::net::listen(FREE).await?;
        let instance = Instance::new(service, listener.local_addr()?);
        let (heartbeat, drain) = (settings.discovery.heartbeat, settings.lifecycle.drain);
        self.tasks
            .spawn(server::serve(listener, routes, self.stop.clone(), drain));
        let registry = Arc::clone(self.platform.registry());
        let registration = registrar::register(registry, instance, heartbeat).await?;
        self.tasks.spawn(registration.keep(self.stop.clone()));
        Ok(())
    }

    async fn start_gateway(&mut self) -> Result<(), Error> {
        let gateway = self.system.start_gateway(&self.platform, FREE).await?;
        self.client = GatewayClient::new(gateway.address());
        self.gateway = Some(gateway);
        Ok(())
    }

    /// Starts a service, for the first time or after it was stopped: its database is what it was.
    ///
    /// # Errors
    /// [`Error::System`].
    pub async fn start_service(&mut self, service: &str) -> Result<(), Error> {
        let running = self
            .system
            .start_service(service, &self.platform, FREE)
            .await?;
        self.services.insert(service.to_owned(), running);
        Ok(())
    }

    /// Stops a service gracefully.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub async fn stop_service(&mut self, service: &str) -> Result<(), Error> {
        let running = self.services.remove(service);
        running.ok_or_else(|| not_running(service))?.stop().await;
        Ok(())
    }

    /// Stops a service and starts it again.
    ///
    /// # Errors
    /// [`Error::NotRunning`] and [`Error::System`].
    pub async fn restart_service(&mut self, service: &str) -> Result<(), Error> {
        self.stop_service(service).await?;
        self.start_service(service).await
    }

    /// Gets `path` from the gateway.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn get(&self, path: &str) -> Result<Answer, NoAnswer> {
        self.client.get(path).await
    }

    /// Posts `body` to `path` at the gateway.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn post(&self, path: &str, body: Value) -> Result<Answer, NoAnswer> {
        self.client.post(path, &body).await
    }

    /// A user at the gateway, for other requests.
    pub fn client(&self) -> &GatewayClient {
        &self.client
    }

    /// Every event of the type `kind` that was published, in order; `order.*` for all that begin so.
    pub fn events(&self, kind: &str) -> Vec<CloudEvent> {
        self.recorder.events(kind)
    }

    /// The bus, to publish from nowhere.
    pub fn bus(&self) -> &Arc<dyn Bus> {
        self.platform.bus()
    }

    /// What the handlers of a service get: its database, its sagas.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn context(&self, service: &str) -> Result<&Context, Error> {
        let running = self.services.get(service);
        running
            .map(RunningService::context)
            .ok_or_else(|| not_running(service))
    }

    /// The dead letters of a service: to be looked at, replayed, dropped.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn dead_letters(&self, service: &str) -> Result<DeadLetters, Error> {
        Ok(DeadLetters::of(self.context(service)?.db()))
    }

    /// An operator of a service: goes past the gateway, with a token that lets it do what services may not.
    ///
    /// # Errors
    /// [`Error::NotRunning`] and [`Error::Token`].
    pub fn operator(&self, service: &str) -> Result<GatewayClient, Error> {
        self.caller(service, identity::OPERATE)
    }

    /// Somebody who calls a service past the gateway, with a token that has this permission.
    ///
    /// # Errors
    /// [`Error::NotRunning`] and [`Error::Token`].
    pub fn caller(&self, service: &str, permission: &str) -> Result<GatewayClient, Error> {
        let grants = BTreeMap::from([(service.to_owned(), vec![permission.to_owned()])]);
        let issuer = Issuer::new(self.platform.keyring().clone(), "test", grants);
        let token = issuer.token(service)?;
        let client = GatewayClient::new(self.address(service)?);
        Ok(client.with_header("authorization", &format!("Bearer {token}")))
    }

    /// Where a service listens, for requests that go past the gateway.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn address(&self, service: &str) -> Result<SocketAddr, Error> {
        let running = self.services.get(service);
        running
            .map(RunningService::address)
            .ok_or_else(|| not_running(service))
    }

    /// A view of all databases.
    ///
    /// # Errors
    /// [`Error::Inspect`].
    pub async fn inspect(&self) -> Result<Inspection, Error> {
        Ok(Inspection::of(&self.system, self.platform.settings()).await?)
    }

    /// Looks until there is something to see, and returns it; `what` says what is waited for.
    ///
    /// # Errors
    /// [`Error::InVain`] after 20 seconds.
    pub async fn eventually<T>(
        &self,
        what: &str,
        look: impl AsyncFn() -> Option<T>,
    ) -> Result<T, Error> {
        let looking = async {
            loop {
                match look().await {
                    Some(seen) => return seen,
                    None => env::sleep(LOOK_EVERY).await,
                }
            }
        };
        let limit = PATIENCE;
        let what = what.to_owned();
        env::timeout(limit, looking)
            .await
            .map_err(|_| Error::InVain { what, limit })
    }

    /// Waits until no saga runs and no message is on its way, and then returns every invariant of the system that
    /// does not hold, with what was found. A message on a server is not seen; it shows in the invariants, so where one
    /// does not hold it is waited for too.
    ///
    /// # Errors
    /// [`Error::Inspect`] and [`Error::Look`], and [`Error::InVain`] when the system does not come to rest.
    pub async fn at_rest(&self) -> Result<Vec<(String, String)>, Error> {
        let view = self.inspect().await?;
        let resting = async || match view.unrest().await {
            Ok(unrest) if unrest.is_empty() => Some(Ok(())),
            Ok(_) => None,
            Err(reason) => Some(Err(Error::Look { reason })),
        };
        let whole = async || match self.violations(&view).await {
            violated if violated.is_empty() => Some(()),
            _ => None,
        };
        self.eventually("the system comes to rest", resting)
            .await??;
        if self.platform.settings().messaging.bus.is_some() {
            _ = self.eventually("the invariants hold", whole).await;
        }
        Ok(self.violations(&view).await)
    }

    async fn violations(&self, view: &Inspection) -> Vec<(String, String)> {
        let mut violated = Vec::new();
        for invariant in self.system.invariants() {
            if let Err(found) = invariant.check(view.clone()).await {
                violated.push((invariant.name().to_owned(), found.to_string()));
            }
        }
        violated
    }

    /// Stops everything gracefully, the gateway first.
    pub async fn stop(mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop().await;
        }
        let services = std::mem::take(&mut self.services);
        futures::future::join_all(services.into_values().map(RunningService::stop)).await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.platform.stop().await;
    }
}

async fn open_bus(settings: &Settings) -> Result<Arc<dyn Bus>, Error> {
    let Some(url) = &settings.messaging.bus else {
        let file = settings.data.join(format!("{BUS}.sqlite"));
        let bus = EmbeddedBus::open(&format!("sqlite:{}", file.display())).await?;
        return Ok(Arc::new(bus));
    };
    let bus = NatsBus::connect(url.reveal(), nats::Options::default()).await?;
    Ok(Arc::new(bus))
}

fn not_running(service: &str) -> Error {
    Error::NotRunning {
        service: service.to_owned(),
    }
}
