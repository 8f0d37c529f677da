//! `serve`: one part of the system, as a process of its own.

use std::{net::SocketAddr, pin::pin, process::ExitCode, time::Duration};

use clap::Args;
use outrigger::{
    Platform, RunningGateway, RunningHub, RunningService, Settings, System,
    discovery::HUB,
    env::{self, chain},
    lifecycle::GATEWAY,
    settings::Advertised,
};
use serde_json::json;

use crate::{Error, Global, Output, note, say, settings::Data, signals};

/// A database that is away is looked for again after so long, and up to as long again.
const PAUSE: Duration = Duration::from_secs(1);

/// Run one service, the gateway, or the hub, as a process of its own
///
/// It joins the hub that --hub or `hub.url` names, registers there, and finds the others there; while the hub is away it
/// goes on with what it knows. It meets their events on the bus that `messaging.bus` names, or else on that of the hub.
/// Without a hub it finds those that it calls under `[peers]` in the settings, and the bus is by default a file in the
/// data folder, which the processes of this machine share as long as each service has one.
#[derive(Args)]
#[command(after_help = "Examples:
  shop serve hub
  shop serve user-service --hub http://127.0.0.1:7700
  shop serve gateway --hub http://127.0.0.1:7700 --listen 127.0.0.1:8080
  shop serve order-service --hub http://hub.local:7700 --listen 0.0.0.0:7001")]
pub(crate) struct Serve {
    /// The service, or `gateway`, or `hub`
    service: String,

    /// Where it listens [default: a free port on 127.0.0.1; the hub 127.0.0.1:7700]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,

    /// The hub to join, such as http://127.0.0.1:7700
    #[arg(long, value_name = "URL")]
    hub: Option<String>,

    /// The IP address at which others reach it, with a port where that is another [default: where it listens; for 0.0.0.0
    /// the address of this machine on the way to the hub]
    #[arg(long, value_name = "ADDR")]
    advertise: Option<Advertised>,

    /// Stop also when standard input ends, as it does when the process that started this one is gone
    #[arg(long, hide = true)]
    with_parent: bool,

    #[command(flatten)]
    data: Data,
}

impl Serve {
    pub(crate) async fn run(self, system: System, global: &Global) -> Result<ExitCode, Error> {
        let settings = self.settings(global)?;
        let _logging =
            outrigger::telemetry::logging::init(settings.logging.to_options(&self.service))?;
        let mut stop = pin!(async {
            tokio::select! {
                biased;
                () = signals::stop_requested() => {}
                () = signals::parent_gone(), if self.with_parent => {}
            }
        });
        let part = tokio::select! {
            biased;
            () = &mut stop => return Ok(ExitCode::SUCCESS),
            part = self.start(&system, settings, global) => part?,
        };
        let (service, address) = (&self.service, part.address());
        match global.output {
            Output::Human => say(format!("{service} ready at http://{address}")),
            Output::Json => say(json!({
                "service": service,
                "status": "ready",
                "address": format!("http://{address}"),
            })),
        }
        stop.await;
        note("stopping: finishing what is in flight");
        part.stop().await;
        Ok(ExitCode::SUCCESS)
    }

    fn settings(&self, global: &Global) -> Result<Settings, Error> {
        let hub = self.hub.clone().map(|url| ("hub.url", url));
        let advertise = self.advertise;
        let advertise = advertise.map(|set| ("discovery.advertise", set.to_string()));
        self.data
            .settings_with(global, hub.into_iter().chain(advertise))
    }

    async fn start(
        &self,
        system: &System,
        settings: Settings,
        global: &Global,
    ) -> Result<Part, Error> {
        let name = self.service.as_str();
        if name == HUB {
            let listen = self.listen.unwrap_or(settings.hub.listens_on());
            return Ok(Part::Hub(RunningHub::start(&settings, listen).await?));
        }
        let listen = self.listen.unwrap_or(settings.service(name).listen);
        let platform = Platform::alone(settings, name).await?;
        system.follow(&platform, &global.config);
        Ok(if name == GATEWAY {
            let gateway = system.start_gateway(&platform, listen).await?;
            Part::Gateway(gateway, platform)
        } else {
            let service = start_service(system, name, &platform, listen).await?;
            Part::Service(service, platform)
        })
    }
}

/// Starts a service, once its database is there.
async fn start_service(
    system: &System,
    name: &str,
    platform: &Platform,
    listen: SocketAddr,
) -> Result<RunningService, Error> {
    let mut waiting = false;
    loop {
        match system.start_service(name, platform, listen).await {
            Err(error) if error.is_database_away() => {
                if !waiting {
                    note(format!("waiting for the database: {}", chain(&error)));
                }
                waiting = true;
                let more = env::random().below(PAUSE.as_millis() as u64);
                env::sleep(PAUSE + Duration::from_millis(more)).await;
            }
            ended => return Ok(ended?),
        }
    }
}

/// What one process runs, and on what.
enum Part {
    Hub(RunningHub),
    Gateway(RunningGateway, Platform),
    Service(RunningService, Platform),
}

impl Part {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Hub(hub) => hub.address(),
            Self::Gateway(gateway, _) => gateway.address(),
            Self::Service(service, _) => service.address(),
        }
    }

    async fn stop(self) {
        let platform = match self {
            Self::Hub(hub) => return hub.stop().await,
            Self::Gateway(gateway, platform) => {
                gateway.stop().await;
                platform
            }
            Self::Service(service, platform) => {
                service.stop().await;
                platform
            }
        };
        platform.stop().await;
    }
}
