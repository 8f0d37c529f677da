//! `doctor`: whether what the system runs on is set as its guarantees need it.

use std::process::ExitCode;

use clap::Args;
use outrigger::{
    Settings, System,
    data::sqlite_version,
    env::{Finding, Severity},
    events::nats,
};
use serde_json::json;

use crate::{Error, Global, Output, say};

/// Look at the bus and the databases that the settings name, and say what is wrong with them
///
/// It changes nothing. The exit code is 0 when nothing is worse than a warning, and 1 otherwise.
#[derive(Args)]
#[command(after_help = "Example:\n  shop doctor --output json")]
pub(crate) struct Doctor {}

impl Doctor {
    pub(crate) async fn run(self, system: &System, global: &Global) -> Result<ExitCode, Error> {
        let settings = Settings::load(&global.config, None)?;
        let mut findings = bus(&settings).await?;
        findings.push(sqlite());
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
        Some(url) => Ok(nats::check(url.reveal(), nats::Options::default()).await?),
    }
}

fn sqlite() -> Finding {
    match sqlite_version() {
        Ok(version) => Finding::fine("SQLite", format!("version {version}")),
        Err(error) => Finding::new(Severity::Error, "SQLite", outrigger::env::chain(&error), ""),
    }
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
