//! `check`: whether the description keeps its own rules.

use std::process::ExitCode;

use clap::Args;
use outrigger::System;
use serde_json::json;

use crate::{Global, Output, say};

/// Check the description of the system: boundaries, dependencies and routes
#[derive(Args)]
#[command(after_help = "Example:\n  shop check --output json")]
pub(crate) struct Check {}

impl Check {
    pub(crate) fn run(&self, system: &System, global: &Global) -> ExitCode {
        let violations = system.violations();
        match global.output {
            Output::Json => {
                let violations: Vec<_> = violations.iter().map(ToString::to_string).collect();
                say(json!({ "system": system.name(), "violations": violations }));
            }
            Output::Human if violations.is_empty() => {
                say(format!(
                    "{}: {} services, all is well",
                    system.name(),
                    system.services().len()
                ));
            }
            Output::Human => violations
                .iter()
                .for_each(|violation| say(format!("- {violation}"))),
        }
        if violations.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
