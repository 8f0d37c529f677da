//! `audit`: whether the invariants hold in the data of a system, while it runs or after it stopped.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use outrigger::{
    Inspection, Settings, System,
    invariant::{Alert, Watch},
};
use serde_json::json;

use crate::{Error, Global, Output, note, say, signals};

/// Check the system's invariants in its data
#[derive(Args)]
#[command(after_help = "Examples:
  shop audit --data .outrigger --output json
  shop audit --every 30s     watches over a running system until Ctrl-C")]
pub(crate) struct Audit {
    /// The folder of the databases [default: .outrigger]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Look again and again, and say what is broken for longer than it may be, and what holds again
    #[arg(long, value_name = "TIME", value_parser = pause)]
    every: Option<Duration>,
}

impl Audit {
    pub(crate) async fn run(self, system: System, global: &Global) -> Result<ExitCode, Error> {
        let data = self
            .data
            .as_ref()
            .map(|path| ("data", path.display().to_string()));
        let settings = Settings::load(&global.config, data)?;
        match self.every {
            Some(every) => watch(&system, &settings, every, global.output).await,
            None => look(&system, &settings, global.output).await,
        }
    }
}

/// How long to pause: a second or more.
fn pause(text: &str) -> Result<Duration, String> {
    let parsed = jiff::fmt::friendly::SpanParser::new().parse_unsigned_duration(text);
    match parsed {
        Ok(pause) if pause >= Duration::from_secs(1) => Ok(pause),
        Ok(_) => Err("it is a second at least".to_owned()),
        Err(_) => Err("it is a time such as 30s or 5m".to_owned()),
    }
}

async fn watch(
    system: &System,
    settings: &Settings,
    every: Duration,
    output: Output,
) -> Result<ExitCode, Error> {
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
            say(json!({ "checked": checked, "violations": violations, "unrest": unrest }));
        }
        Output::Human => {
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
    Ok(if violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
