//! The description of a whole system, as a value.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use serde_json::Value;

use crate::{
    Error, GatewayClient, Inspection, Invariant, Platform, Result, Running, RunningGateway,
    RunningService, Service, Settings, Violation, boundary, invariant::Findings, lifecycle,
};

/// A system: its services, its gateway, and what must be true of it.
///
/// Cloning is cheap, and a description can be started any number of times.
#[derive(Clone)]
pub struct System {
    name: Arc<str>,
    services: Vec<Service>,
    gateway: Option<Arc<str>>,
    contracts: Option<PathBuf>,
    invariants: Vec<Invariant>,
    demo: Vec<DemoRequest>,
    example: Option<DemoRequest>,
    workload: Option<Arc<Workload>>,
    rush: Option<Arc<Workload>>,
    scenario: Option<Arc<Workload>>,
    state: Option<Arc<State>>,
}

/// What users do with a system, driven through its gateway.
pub type Workload = dyn Fn(GatewayClient) -> BoxFuture<'static, ()> + Send + Sync;

/// Reads where the business of a system is.
type State =
    dyn Fn(Inspection) -> BoxFuture<'static, Result<BTreeMap<String, Value>, String>> + Send + Sync;

/// A request that fills an empty system with something to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct DemoRequest {
    /// The path, posted to through the gateway.
    pub path: String,
    /// The JSON body.
    pub body: Value,
}

impl System {
    /// A system without services.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            services: Vec::new(),
            gateway: None,
            contracts: None,
            invariants: Vec::new(),
            demo: Vec::new(),
            example: None,
            workload: None,
            rush: None,
            scenario: None,
            state: None,
        }
    }

    /// Adds a service.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// Puts a gateway in front; `routes` is the text of a `gateway.toml`.
    #[must_use]
    pub fn gateway(mut self, routes: &str) -> Self {
        self.gateway = Some(routes.into());
        self
    }

    /// Names the folder with the committed schemas of the messages, which `check` holds the description against
    /// (G12): in a crate, `concat!(env!("CARGO_MANIFEST_DIR"), "/schemas")`.
    #[must_use]
    pub fn contracts(mut self, folder: impl Into<PathBuf>) -> Self {
        self.contracts = Some(folder.into());
        self
    }

    /// Adds what must be true of the data, whatever fails. `staleness` is how long it may be untrue of one thing (an
    /// order, say) in a running system, while messages about it are on their way; zero is never.
    ///
    /// A simulation checks what has no staleness all along, and the rest once no saga runs and no event is on its way.
    /// While the system runs, `invariants.every` in the settings says how often it is looked at, and an alert is
    /// [raised](crate::invariant::Watch) for what is untrue for longer.
    #[must_use]
    pub fn invariant<F, Fut, E>(mut self, name: &str, staleness: Duration, check: F) -> Self
    where
        F: Fn(Inspection) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Findings>,
    {
        self.invariants.push(Invariant::new(name, staleness, check));
        self
    }

    /// Adds a request that `up` makes through the gateway to have something to show. It should carry its
    /// own id, so that making it again changes nothing.
    #[must_use]
    pub fn demo(mut self, path: &str, body: Value) -> Self {
        self.demo.push(DemoRequest {
            path: path.to_owned(),
            body,
        });
        self
    }

    /// Names a request that a person can paste to try the system; `up` prints it as a `curl` line.
    #[must_use]
    pub fn example(mut self, path: &str, body: Value) -> Self {
        self.example = Some(DemoRequest {
            path: path.to_owned(),
            body,
        });
        self
    }

    /// Says what users do with the system. A simulation runs it under faults; it ends when the last user
    /// has what they came for, or has been told that they cannot have it.
    #[must_use]
    pub fn workload<F, Fut>(mut self, workload: F) -> Self
    where
        F: Fn(GatewayClient) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.workload = Some(Arc::new(move |client| Box::pin(workload(client))));
        self
    }

    /// Says what users do when there are many of them for longer than a [workload](Self::workload) lasts: what the speed of
    /// a simulation is measured by.
    #[must_use]
    pub fn rush<F, Fut>(mut self, rush: F) -> Self
    where
        F: Fn(GatewayClient) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.rush = Some(Arc::new(move |client| Box::pin(rush(client))));
        self
    }

    /// Says what users do in a short story that ends the same whatever crashes: each insists until it has what it came
    /// for, and takes care not to get it twice. A simulation of [crash points](Self::state) plays it.
    #[must_use]
    pub fn scenario<F, Fut>(mut self, scenario: F) -> Self
    where
        F: Fn(GatewayClient) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.scenario = Some(Arc::new(move |client| Box::pin(scenario(client))));
        self
    }

    /// Says where the business is, part by part: what must be the same in the end whichever process was killed at
    /// whatever instant of the [scenario](Self::scenario). Leave out ids and times.
    #[must_use]
    pub fn state<F, Fut>(mut self, state: F) -> Self
    where
        F: Fn(Inspection) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<BTreeMap<String, Value>, String>> + Send + 'static,
    {
        self.state = Some(Arc::new(move |view| Box::pin(state(view))));
        self
    }

    /// The system's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its services, in the order of the description.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Where the schemas of its messages are committed, if that was said.
    pub fn contracts_folder(&self) -> Option<&Path> {
        self.contracts.as_deref()
    }

    /// What must be true of it.
    pub fn invariants(&self) -> &[Invariant] {
        &self.invariants
    }

    /// The requests that make it presentable.
    pub fn demo_requests(&self) -> &[DemoRequest] {
        &self.demo
    }

    /// A request to try it with.
    pub fn example_request(&self) -> Option<&DemoRequest> {
        self.example.as_ref()
    }

    /// What users do with it, if that was said.
    pub fn users(&self) -> Option<Arc<Workload>> {
        self.workload.clone()
    }

    /// What many users do with it, if that was said.
    pub fn many_users(&self) -> Option<Arc<Workload>> {
        self.rush.clone()
    }

    /// The story whose crash points are gone through, if one was told.
    pub fn script(&self) -> Option<Arc<Workload>> {
        self.scenario.clone()
    }

    /// Where the business is, part by part; empty if it was not said how to see it.
    ///
    /// # Errors
    /// What a database says, in words.
    pub async fn state_of(&self, view: Inspection) -> Result<BTreeMap<String, Value>, String> {
        match &self.state {
            Some(state) => state(view).await,
            None => Ok(BTreeMap::new()),
        }
    }

    /// The routes of its gateway; `None` without one.
    ///
    /// # Errors
    /// [`Error::Gateway`].
    pub fn gateway_config(&self) -> Result<Option<gateway::Config>> {
        self.gateway
            .as_deref()
            .map(|text| text.parse().map_err(Error::Gateway))
            .transpose()
    }

    /// The service of that name.
    ///
    /// # Errors
    /// [`Error::UnknownService`].
    pub fn find(&self, name: &str) -> Result<&Service> {
        self.services
            .iter()
            .find(|service| service.name() == name)
            .ok_or_else(|| {
                let known: Vec<_> = self.services.iter().map(Service::name).collect();
                Error::UnknownService {
                    name: name.to_owned(),
                    known: known.join(", "),
                }
            })
    }

    /// Every rule that the description breaks; empty is well.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = boundary::violations(&self.services);
        match self.gateway_config() {
            Ok(Some(config)) => found.extend(self.route_violations(&config)),
            Ok(None) => {}
            Err(error) => {
                found.push(Violation::UnreadableGateway(env::chain(&error)));
            }
        }
        found
    }

    fn route_violations(&self, config: &gateway::Config) -> Vec<Violation> {
        let apis: BTreeMap<&str, &[String]> = self
            .services
            .iter()
            .map(|service| (service.name(), service.declared_boundary().apis.as_slice()))
            .collect();
        let check = |route: &gateway::Route| {
            let (path, service) = (route.path.clone(), route.service.clone());
            match apis.get(service.as_str()) {
                None => Some(Violation::UnknownRouteTarget { path, service }),
                Some(apis) if !apis.iter().any(|api| covers(api, &path)) => {
                    Some(Violation::UndeclaredRoute { path, service })
                }
                Some(_) => None,
            }
        };
        config.routes.iter().filter_map(check).collect()
    }

    /// Starts one service on `platform`.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::SharedDatabase`], [`Error::UnknownService`], [`Error::Listen`] and
    /// [`Error::Start`].
    pub async fn start_service(
        &self,
        name: &str,
        platform: &Platform,
        listen: SocketAddr,
    ) -> Result<RunningService> {
        self.check()?;
        self.check_settings(platform.settings())?;
        lifecycle::start_service(self.find(name)?, platform, listen).await
    }

    /// Starts the gateway on `platform`.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Gateway`] and [`Error::Listen`].
    pub async fn start_gateway(
        &self,
        platform: &Platform,
        listen: SocketAddr,
    ) -> Result<RunningGateway> {
        self.check()?;
        self.check_callees(platform.settings())?;
        let config = self.gateway_config()?.unwrap_or_default();
        lifecycle::start_gateway(config, self, platform, listen).await
    }

    /// Starts every service and the gateway on `platform`, each on the port of its settings.
    ///
    /// # Errors
    /// As [`start_service`](Self::start_service) and [`start_gateway`](Self::start_gateway); what had been
    /// started is stopped again.
    pub async fn start(&self, platform: Platform) -> Result<Running> {
        self.check()?;
        self.check_settings(platform.settings())?;
        let mut running = Running::new(platform.clone());
        match self.start_all(&platform, &mut running).await {
            Ok(()) => Ok(running),
            Err(error) => {
                running.stop().await;
                Err(error)
            }
        }
    }

    async fn start_all(&self, platform: &Platform, running: &mut Running) -> Result<()> {
        let starts = self.services.iter().map(|service| {
            let listen = platform.settings().service(service.name()).listen;
            Box::pin(lifecycle::start_service(service, platform, listen))
                as BoxFuture<'_, Result<RunningService>>
        });
        let mut failed = None;
        for started in futures::future::join_all(starts).await {
            match started {
                Ok(service) => running.add_service(service),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if self.gateway.is_some() {
            let listen = platform.settings().gateway.listen;
            running.set_gateway(self.start_gateway(platform, listen).await?);
        }
        Ok(())
    }

    fn check_settings(&self, settings: &Settings) -> Result<()> {
        self.check_databases(settings)?;
        self.check_callees(settings)
    }

    /// Nothing is said of calls to a service that there is not.
    pub(crate) fn check_callees(&self, settings: &Settings) -> Result<()> {
        let known = || self.services.iter().map(Service::name);
        match settings
            .calls
            .services()
            .find(|name| !known().any(|known| known == *name))
        {
            None => Ok(()),
            Some(name) => Err(Error::UnknownCallee {
                name: name.to_owned(),
                nearest: env::config::nearest(name, known()).map(str::to_owned),
            }),
        }
    }

    /// No two services have one database, whoever they say they are there.
    fn check_databases(&self, settings: &Settings) -> Result<()> {
        let mut taken = BTreeMap::new();
        for service in &self.services {
            let url = settings.database_of(service.name());
            let place = match url.reveal().rsplit_once('@') {
                Some((_, place)) => place,
                None => url.reveal(),
            };
            if let Some(one) = taken.insert(place.to_owned(), service.name()) {
                return Err(Error::SharedDatabase {
                    one: one.to_owned(),
                    other: service.name().to_owned(),
                });
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let violations = self.violations();
        if violations.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(violations))
        }
    }
}

/// Whether the prefix `api` covers `path`: `/orders` covers `/orders` and `/orders/{id}`, not `/orders-old`.
fn covers(api: &str, path: &str) -> bool {
    path.strip_prefix(api)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
