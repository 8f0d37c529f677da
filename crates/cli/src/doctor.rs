//! `doctor`: whether what the system runs on is set as its guarantees need it.

use std::process::ExitCode;

use clap::Args;
use outrigger::{
    Settings, System,
    env::{Finding, Severity},
    events::{hub, nats},
};
use serde_json::json;

use crate::{Error, Global, Output, say};

/// Look at the bus and the databases that the settings name, and say what is wrong with them
///
/// Each finding says what it means and what to do. It changes nothing. The exit code is 0 when nothing is worse than a
/// warning, and 1 otherwise.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shop doctor\n  shop doctor --config production.toml --output json"
)]
pub(crate) struct Doctor {}

impl Doctor {
    pub(crate) async fn run(self, system: &System, global: &Global) -> Result<ExitCode, Error> {
        let settings = Settings::load(&global.config, None)?;
        let mut findings = bus(&settings).await?;
        findings.extend(databases(system, &settings).await);
        let worst = findings.iter().map(|it| it.severity).max();
        match global.output {
            Output::Json => say(json!({ "system": system.name(), "findings": findings })),
            Output::Human => findings.iter().for_each(|finding| say(line(finding))),
        }
        Ok(if worst == Some(Severity::Error) {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

async fn bus(settings: &Settings) -> Result<Vec<Finding>, Error> {
    match &settings.messaging.bus {
        None => Ok(vec![Finding::fine(
            "bus",
            "embedded: events are on disk before they are acknowledged",
        )]),
        Some(url) if hub::is_url(url.reveal()) => Ok(vec![hub::check(url.reveal()).await?]),
        Some(url) => Ok(nats::check(url.reveal(), nats::Options::default()).await?),
    }
}

/// What is found of a server that several services share is said once.
async fn databases(system: &System, settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in system.services() {
        let url = settings.database_of(service.name());
        for finding in outrigger::data::check(url.reveal()).await {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    findings
}

fn line(finding: &Finding) -> String {
    let mark = match finding.severity {
        Severity::Fine => "fine   ",
        Severity::Note => "note   ",
        Severity::Warning => "warning",
        Severity::Error => "error  ",
    };
    let Finding {
        subject,
        found,
        advice,
        ..
    } = finding;
    if advice.is_empty() {
        format!("{mark}  {subject}: {found}")
    } else {
        format!("{mark}  {subject}: {found}\n         {advice}")
    }
}
