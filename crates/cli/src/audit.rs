//! `audit`: whether the invariants hold in a data folder, while the system runs or after it stopped.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use outrigger::{Inspection, Settings, System};
use serde_json::json;

use crate::{Error, Global, Output, say};

/// Check the system's invariants in a data folder
#[derive(Args)]
#[command(after_help = "Example:\n  shop audit --data .outrigger --output json")]
pub(crate) struct Audit {
    /// The folder of the databases [default: .outrigger]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Audit {
    pub(crate) async fn run(self, system: System, global: &Global) -> Result<ExitCode, Error> {
        let data = self
            .data
            .as_ref()
            .map(|path| ("data", path.display().to_string()));
        let settings = Settings::load(&global.config, data)?;
        let view = Inspection::of(&system, &settings)
            .await
            .map_err(|source| Error::Inspect {
                path: settings.data.clone(),
                source,
            })?;
        let unrest = view.unrest().await.map_err(Error::Look)?;
        let mut violations = Vec::new();
        let mut checked = 0;
        for invariant in system.invariants() {
            if invariant.is_at_rest() && !unrest.is_empty() {
                continue;
            }
            checked += 1;
            if let Err(found) = invariant.check(view.clone()).await {
                violations.push(format!("{}: {found}", invariant.name()));
            }
        }
        match global.output {
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
}
