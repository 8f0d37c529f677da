//! `serve`: one service of the system, as a process of its own.

use std::{net::SocketAddr, process::ExitCode};

use clap::Args;
use outrigger::{Platform, RunningGateway, RunningService, System, lifecycle::GATEWAY};
use serde_json::json;

use crate::{Error, Global, Output, note, say, settings::Data, signals};

/// Run one service, or the gateway, as a process of its own
///
/// It finds the services that it calls under `[peers]` in the settings, and meets their events on the bus that
/// `messaging.bus` names. Without one that is the embedded bus in the data folder, which the processes of this machine
/// share as long as each service has one.
#[derive(Args)]
#[command(after_help = "Example:\n  shop serve user-service --listen 127.0.0.1:7001")]
pub(crate) struct Serve {
    /// The service, or `gateway`
    service: String,

    /// Where it listens [default: a free port on 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,

    #[command(flatten)]
    data: Data,
}

impl Serve {
    pub(crate) async fn run(self, system: System, global: &Global) -> Result<ExitCode, Error> {
        let settings = self.data.settings(global)?;
        let _logging =
            outrigger::telemetry::logging::init(settings.logging.to_options(&self.service))?;
        let listen = self
            .listen
            .unwrap_or(settings.service(&self.service).listen);
        let platform = Platform::alone(settings).await?;
        system.follow(&platform, &global.config);
        let part = Part::start(&system, &self.service, &platform, listen).await?;
        match global.output {
            Output::Human => say(format!(
                "{} ready at http://{}",
                self.service,
                part.address()
            )),
            Output::Json => say(json!({
                "service": self.service,
                "status": "ready",
                "address": format!("http://{}", part.address()),
            })),
        }
        signals::stop_requested().await;
        note("stopping: finishing what is in flight");
        part.stop().await;
        platform.stop().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// What one process runs.
enum Part {
    Service(RunningService),
    Gateway(RunningGateway),
}

impl Part {
    async fn start(
        system: &System,
        name: &str,
        platform: &Platform,
        listen: SocketAddr,
    ) -> Result<Self, Error> {
        Ok(if name == GATEWAY {
            Self::Gateway(system.start_gateway(platform, listen).await?)
        } else {
            Self::Service(system.start_service(name, platform, listen).await?)
        })
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Service(service) => service.address(),
            Self::Gateway(gateway) => gateway.address(),
        }
    }

    async fn stop(self) {
        match self {
            Self::Service(service) => service.stop().await,
            Self::Gateway(gateway) => gateway.stop().await,
        }
    }
}
