//! `describe`: the system as documents for people and programs.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use outrigger::{System, asyncapi, map};

use crate::{Global, Output, say};

/// Describe the system: a map of its services, or a catalogue of its messages
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shop describe\n  shop describe --output json\n  shop describe asyncapi > asyncapi.json"
)]
pub(crate) struct Describe {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// The services: what is their own, whom they call, what they say to whom (the default)
    Map,
    /// The messages as an AsyncAPI 3.0 document, in JSON
    Asyncapi,
}

impl Describe {
    pub(crate) fn run(self, system: &System, global: &Global) -> ExitCode {
        let document = match (self.what.unwrap_or(What::Map), global.output) {
            (What::Map, Output::Human) => map::of(system).to_string(),
            (What::Map, Output::Json) => serde_json::json!(map::of(system)).to_string(),
            (What::Asyncapi, _) => format!("{:#}", asyncapi::document(system)),
        };
        say(document);
        ExitCode::SUCCESS
    }
}
