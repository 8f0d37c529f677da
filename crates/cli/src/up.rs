//! `up`: the whole system in one process, on embedded parts.

use std::{net::SocketAddr, process::ExitCode};

use clap::Args;
use outrigger::{
    GatewayClient, Platform, Running, Settings, System,
    invariant::{Alert, Watch},
};
use serde_json::json;

use crate::{Error, Global, Output, note, say, settings::Data, signals};

/// Run the whole system in this process, on embedded parts
#[derive(Args, Default)]
#[command(after_help = "Example:\n  shop up --gateway 127.0.0.1:9090 --data /tmp/shop")]
pub(crate) struct Up {
    /// Where the gateway listens [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    gateway: Option<SocketAddr>,

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
        let platform = Platform::embedded(settings).await?;
        system.follow(&platform, &global.config);
        let running = system.start(platform).await?;
        if !self.no_demo {
            fill(&system, &running).await;
        }
        let took = begun.elapsed();
        match global.output {
            Output::Human => show(&system, &running, took),
            Output::Json => say(described(&system, &running, took)),
        }
        let settings = running.platform().settings();
        let every = settings.invariants.every;
        let watching = Watch::of(&system).run(&system, settings, every, Alert::log);
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
        self.data.settings_with(global, gateway)
    }
}

/// Makes the demo requests. They carry their own ids: a second start is told that they exist, and that is
/// well.
async fn fill(system: &System, running: &Running) {
    let Some(gateway) = running.gateway() else {
        return;
    };
    let client = GatewayClient::new(gateway);
    for request in system.demo_requests() {
        match client.post(&request.path, &request.body).await {
            Ok(answer) if answer.status.is_success() || answer.status.as_u16() == 409 => {}
            Ok(answer) => note(format!(
                "the demo's POST {} got {}",
                request.path, answer.status
            )),
            Err(error) => note(format!("the demo is incomplete: {error}")),
        }
    }
}

fn show(system: &System, running: &Running, took: std::time::Duration) {
    let width = system
        .services()
        .iter()
        .map(|service| service.name().len())
        .max()
        .unwrap_or(0);
    say(format!("{:width$}  where", "what"));
    for service in running.services() {
        say(format!(
            "{:width$}  http://{}",
            service.name(),
            service.address()
        ));
    }
    if let Some(gateway) = running.gateway() {
        say(format!("{:width$}  http://{gateway}", "gateway"));
        if let Some(example) = system.example_request() {
            say(format!(
                "\nTry it:\n  curl -i http://{gateway}{} --json '{}'\n",
                example.path, example.body
            ));
        }
    }
    say(format!(
        "{} ready in {} ms; Ctrl-C stops it",
        system.name(),
        took.as_millis()
    ));
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
        "services": services,
    })
}
