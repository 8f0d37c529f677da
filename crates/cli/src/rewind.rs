//! `rewind`: a service is given once more what the bus has.

use std::process::ExitCode;

use clap::Args;
use outrigger::{System, env::Timestamp};
use serde_json::json;

use crate::{Error, Global, Output, note, say, settings::Data, time};

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
    #[arg(long, value_name = "TIME", value_parser = time::since)]
    since: Timestamp,
    /// A type or pattern of events that the service handles, and is to handle again; may be repeated
    #[arg(long, value_name = "TYPE")]
    again: Vec<String>,
    #[command(flatten)]
    data: Data,
}

impl Rewind {
    pub(crate) async fn run(self, system: &System, global: &Global) -> Result<ExitCode, Error> {
        let settings = self.data.settings(global)?;
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
