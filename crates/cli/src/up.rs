//! `up`: the whole system, in one process on embedded parts, or in a process a service.

use std::{net::SocketAddr, process::ExitCode};

use clap::Args;
use outrigger::{Platform, Running, Settings, System, invariant, lifecycle::GATEWAY};
use serde_json::json;

use crate::{
    Error, Global, Output, note,
    processes::{self, Replicas},
    ready, say,
    settings::Data,
    signals,
};

/// Run the whole system, in this process on embedded parts, or in a process for each service (--processes)
///
/// Processes outside can join it at its hub (`shop serve order-service --hub http://127.0.0.1:7700`), with the keys in its
/// data folder.
#[derive(Args, Default)]
#[command(after_help = "Examples:
  shop up --gateway 127.0.0.1:9090 --data /tmp/shop
  shop up --processes
  shop up --processes --replicas order-service=3,user-service=2")]
pub(crate) struct Up {
    /// Where the gateway listens [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    gateway: Option<SocketAddr>,

    /// Where the hub listens [default: 127.0.0.1:7700, and where that is taken, there is no hub]
    #[arg(long, value_name = "ADDR", conflicts_with = "no_hub")]
    hub: Option<SocketAddr>,

    /// Without a hub: nobody outside joins
    #[arg(long, conflicts_with = "processes")]
    no_hub: bool,

    /// Run each service and the gateway in a process of its own, and start what ends again
    #[arg(long)]
    processes: bool,

    /// So many processes of a service, which needs PostgreSQL then
    #[arg(
        long,
        value_name = "SERVICE=N",
        value_delimiter = ',',
        requires = "processes"
    )]
    replicas: Vec<Replicas>,

    #[command(flatten)]
    data: Data,

    /// Start empty, without the demo catalogue
    #[arg(long)]
    no_demo: bool,
}

impl Up {
    pub(crate) async fn run(self, system: System, global: &Global) -> Result<ExitCode, Error> {
        let begun = outrigger::env::instant();
        let settings = self.settings(global)?;
        let _logging =
            outrigger::telemetry::logging::init(settings.logging.to_options(system.name()))?;
        if self.processes {
            return processes::run(&system, &settings, global, &self.replicas, !self.no_demo).await;
        }
        let platform = self.platform(settings).await?;
        system.follow(&platform, &global.config);
        let running = system.start(platform).await?;
        if let (Some(gateway), false) = (running.gateway(), self.no_demo) {
            ready::fill(&system, gateway).await;
        }
        let took = begun.elapsed();
        match global.output {
            Output::Human => ready::show(&system, &rows(&running), running.gateway(), took),
            Output::Json => say(described(&system, &running, took)),
        }
        let platform = running.platform();
        let metrics = platform.metrics().cloned();
        let watching = invariant::guard(&system, platform.settings(), metrics);
        tokio::select! {
            biased;
            () = signals::stop_requested() => {}
            never = watching => match never {},
        }
        note("stopping: finishing what is in flight");
        running.stop().await;
        Ok(ExitCode::SUCCESS)
    }

    fn settings(&self, global: &Global) -> Result<Settings, Error> {
        let gateway = self.gateway;
        let gateway = gateway.map(|address| ("gateway.listen", format!("{address:?}")));
        let hub = self.hub.map(|address| ("hub.listen", address.to_string()));
        self.data
            .settings_with(global, gateway.into_iter().chain(hub))
    }

    /// With a hub, if one is wanted. Where nobody named its address, a system can do without.
    async fn platform(&self, settings: Settings) -> Result<Platform, Error> {
        if self.no_hub {
            return Ok(Platform::embedded(settings).await?);
        }
        let listen = settings.hub.listens_on();
        if settings.hub.listen.is_some() {
            return Ok(Platform::with_hub(settings, listen).await?);
        }
        match Platform::with_hub(settings.clone(), listen).await {
            Err(outrigger::Error::Listen { .. }) => {
                note(format!(
                    "no hub: {listen} is taken; --hub names another address"
                ));
                Ok(Platform::embedded(settings).await?)
            }
            platform => Ok(platform?),
        }
    }
}

/// What runs, and where.
fn rows(running: &Running) -> Vec<(&str, SocketAddr)> {
    let services = running.services().iter();
    let hub = running.platform().hub().map(|at| ("hub", at));
    let gateway = running.gateway().map(|at| (GATEWAY, at));
    services
        .map(|service| (service.name(), service.address()))
        .chain(hub)
        .chain(gateway)
        .collect()
}

fn described(system: &System, running: &Running, took: std::time::Duration) -> serde_json::Value {
    let services: serde_json::Map<_, _> = running
        .services()
        .iter()
        .map(|service| {
            (
                service.name().to_owned(),
                json!(format!("http://{}", service.address())),
            )
        })
        .collect();
    json!({
        "system": system.name(),
        "status": "ready",
        "readyMs": took.as_millis() as u64,
        "gateway": running.gateway().map(|gateway| format!("http://{gateway}")),
        "hub": running.platform().hub().map(|hub| format!("http://{hub}")),
        "services": services,
    })
}
