//! `rewind`: a service is given once more what the bus has.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use outrigger::{
    Settings, System,
    env::{self, SignedDuration, Timestamp},
};
use serde_json::json;

use crate::{Error, Global, Output, note, say};

/// Deliver to a service once more what was published since some time
///
/// What the service has handled has no effect again: after its database was restored from a backup, this brings back
/// what it has lost. A handler that is to handle events again, because it was wrong or its table is gone, is named
/// with --again.
#[derive(Args)]
#[command(after_help = "Examples:
  shop rewind --service order-service --since 2h
  shop rewind --service notification-service --since 2026-03-01T12:00:00Z --again 'order.*'

The bus keeps events for some time only; see `shop doctor`.")]
pub(crate) struct Rewind {
    /// The service
    #[arg(long, value_name = "NAME")]
    service: String,
    /// A time (RFC 3339), or how long ago (30m, 2h, 1d)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Timestamp,
    /// A type or pattern of events that the service handles, and is to handle again; may be repeated
    #[arg(long, value_name = "TYPE")]
    again: Vec<String>,
    /// The folder of the databases [default: .outrigger]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Rewind {
    pub(crate) async fn run(self, system: &System, global: &Global) -> Result<ExitCode, Error> {
        let data = self
            .data
            .as_ref()
            .map(|path| ("data", path.display().to_string()));
        let settings = Settings::load(&global.config, data)?;
        let Self {
            service,
            since,
            again,
            ..
        } = self;
        note(format_args!(
            "waiting until {service} has handled what it holds"
        ));
        outrigger::rewind::rewind(system, &settings, &service, since, &again).await?;
        match global.output {
            Output::Json => say(json!({ "service": service, "since": since, "again": again })),
            Output::Human => say(format_args!(
                "{service} is given once more what was published since {since}"
            )),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let expected = "write a time such as 2026-03-01T12:00:00Z, or how long ago, such as 2h";
    let ago: SignedDuration = text.parse().map_err(|_| expected)?;
    env::now()
        .checked_sub(ago.abs())
        .map_err(|_| expected.to_owned())
}
