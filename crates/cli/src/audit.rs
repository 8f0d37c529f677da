//! `audit`: whether the invariants hold in the data of a system, while it runs or after it stopped.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use outrigger::{
    Inspection, Settings, System,
    invariant::{Alert, Watch},
};
use serde_json::json;

use crate::{Error, Global, Output, note, say, settings::Data, signals, time};

/// Check the system's invariants in its data
///
/// A service whose SQLite file is not there is named, and the audit has failed: nothing can be said of the whole without it.
/// (With --every it is named at the beginning, and counts as empty. A database on a server that cannot be reached is an error.)
#[derive(Args)]
#[command(after_help = "Examples:
  shop audit --data .outrigger --output json
  shop audit --every 30s     watches over a running system until Ctrl-C")]
pub(crate) struct Audit {
    #[command(flatten)]
    data: Data,

    /// Look again and again, and say what is broken for longer than it may be, and what holds again
    #[arg(long, value_name = "TIME", value_parser = time::pause)]
    every: Option<Duration>,
}

impl Audit {
    pub(crate) async fn run(self, system: System, global: &Global) -> Result<ExitCode, Error> {
        let settings = self.data.settings(global)?;
        match self.every {
            Some(every) => watch(&system, &settings, every, global.output).await,
            None => look(&system, &settings, global.output).await,
        }
    }
}

async fn watch(
    system: &System,
    settings: &Settings,
    every: Duration,
    output: Output,
) -> Result<ExitCode, Error> {
    if let Ok(view) = Inspection::of(system, settings).await {
        for service in view.missing() {
            note(no_database(settings, service));
        }
    }
    let count = system.invariants().len();
    note(format_args!(
        "watching over {count} invariant(s); Ctrl-C stops it"
    ));
    let tell = |alert: &Alert| match output {
        Output::Human => say(alert),
        Output::Json => {
            let found = alert.found.as_ref().map(ToString::to_string);
            say(json!({ "invariant": alert.invariant, "broken": found }));
        }
    };
    tokio::select! {
        biased;
        () = signals::stop_requested() => Ok(ExitCode::SUCCESS),
        never = Watch::of(system).run(system, settings, every, tell) => match never {},
    }
}

async fn look(system: &System, settings: &Settings, output: Output) -> Result<ExitCode, Error> {
    let view = Inspection::of(system, settings)
        .await
        .map_err(|source| Error::Inspect {
            path: settings.data.clone(),
            source,
        })?;
    if view.is_empty() {
        return Err(outrigger::Error::NothingThere {
            system: system.name().to_owned(),
            data: settings.data.clone(),
        }
        .into());
    }
    let missing = view.missing();
    let unrest = view.unrest().await.map_err(Error::Look)?;
    let mut violations = Vec::new();
    let mut checked = 0;
    for invariant in system.invariants() {
        if !invariant.staleness().is_zero() && !unrest.is_empty() {
            continue;
        }
        checked += 1;
        if let Err(found) = invariant.check(view.clone()).await {
            violations.push(format!("{}: {found}", invariant.name()));
        }
    }
    match output {
        Output::Json => {
            say(json!({
                "checked": checked,
                "violations": violations,
                "unrest": unrest,
                "missing": missing,
            }));
        }
        Output::Human => {
            missing
                .iter()
                .for_each(|service| say(no_database(settings, service)));
            unrest
                .iter()
                .for_each(|what| say(format!("not at rest: {what}")));
            violations
                .iter()
                .for_each(|what| say(format!("broken: {what}")));
            say(format!(
                "{checked} invariant(s) checked, {} broken",
                violations.len()
            ));
        }
    }
    Ok(if violations.is_empty() && missing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn no_database(settings: &Settings, service: &str) -> String {
    let place = settings.database_of(service);
    let place = place.reveal();
    format!("no database: {service} has none at {place}; start it, or say where it ran with --data")
}
