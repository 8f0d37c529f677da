//! `bus`: who is still given events by the embedded bus.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use outrigger::{System, groups};
use serde_json::json;

use crate::{Error, Global, Output, say, settings::Data};

/// Show who is given events by the embedded bus, and forget who is no more
///
/// A service that was renamed or removed leaves its group behind, and the bus keeps every event for it.
#[derive(Args)]
#[command(after_help = "Examples:
  shop bus groups
  shop bus forget stock-service")]
pub(crate) struct Bus {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    data: Data,
}

#[derive(Subcommand)]
enum Action {
    /// Show each group: what it is given, and how much it has still to handle
    #[command(after_help = "Example:\n  shop bus groups --output json")]
    Groups,
    /// Remove the group of a service that is no more, with what it had still to handle
    #[command(after_help = "Example:\n  shop bus forget stock-service")]
    Forget {
        /// The group: the name that the service had
        group: String,
    },
}

impl Bus {
    pub(crate) async fn run(self, system: &System, global: &Global) -> Result<ExitCode, Error> {
        let settings = self.data.settings(global)?;
        match self.action {
            Action::Groups => {
                let groups = groups::list(system, &settings).await?;
                match global.output {
                    Output::Json => say(json!({ "groups": groups })),
                    Output::Human => groups.iter().for_each(|it| {
                        let known = system.services().iter().any(|one| one.name() == it.group);
                        let gone = if known {
                            ""
                        } else {
                            "  (no service has this name)"
                        };
                        let types = it.types.join(" ");
                        say(format!(
                            "{}: {} to handle of {types}{gone}",
                            it.group, it.pending
                        ));
                    }),
                }
            }
            Action::Forget { group } => {
                groups::forget(system, &settings, &group).await?;
                match global.output {
                    Output::Json => say(json!({ "forgotten": group })),
                    Output::Human => say(format!("{group} is forgotten")),
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
