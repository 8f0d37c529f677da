//! `check`: whether the description keeps its own rules, its messages their contracts, and its calls their bounds.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use outrigger::{
    Settings, System,
    contracts::{self, Difference},
};
use serde_json::json;

use crate::{Error, Global, Output, note, say};

/// Check the description of the system: boundaries, dependencies, routes, calls, and the contracts of its messages
///
/// With the policies of calls in the settings, one request may not become too many by retries, and no caller may wait for
/// less time than the one it calls waits for others.
///
/// Each message has a JSON Schema, and the schemas are committed. A change that readers cannot take, of events that
/// are stored or on their way, is refused until the message has a new version.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shop check\n  shop check --output json\n  shop check --accept    # writes the schemas of what is new or has changed compatibly"
)]
pub(crate) struct Check {
    /// The folder of the committed schemas [default: the one that the system names]
    #[arg(long, value_name = "DIR")]
    contracts: Option<PathBuf>,

    /// Write the schemas of new messages and of compatible changes
    #[arg(long)]
    accept: bool,
}

impl Check {
    pub(crate) fn run(&self, system: &System, global: &Global) -> Result<ExitCode, Error> {
        let violations = system.violations();
        let risks = system.risks(&Settings::load(&global.config, [])?)?;
        let folder = self.contracts.as_deref().or(system.contracts_folder());
        let folder = folder.map(from_here);
        let mut written = Vec::new();
        let mut differences = Vec::new();
        match &folder {
            Some(folder) => {
                if self.accept {
                    written = contracts::accept(system, folder)?;
                }
                differences = contracts::compare(system, folder)?;
            }
            None => note(
                "the schemas of messages are not compared: name their folder with `System::contracts` or --contracts",
            ),
        }
        let well = violations.is_empty() && risks.is_empty() && differences.is_empty();
        match global.output {
            Output::Json => say(json!({
                "system": system.name(),
                "violations": texts(&violations),
                "risks": texts(&risks),
                "contracts": differences.iter().map(described).collect::<Vec<_>>(),
                "written": written,
            })),
            Output::Human => {
                written
                    .iter()
                    .for_each(|file| say(format!("wrote {}", file.display())));
                texts(&violations)
                    .iter()
                    .for_each(|text| say(format!("- {text}")));
                texts(&risks)
                    .iter()
                    .for_each(|text| say(format!("- {text}")));
                texts(&differences)
                    .iter()
                    .for_each(|text| say(format!("- {text}")));
                if well {
                    let services = system.services().len();
                    say(format!(
                        "{}: {services} services, all is well",
                        system.name()
                    ));
                }
            }
        }
        Ok(if well {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// The path as somebody in the working directory would write it.
fn from_here(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    let relative = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    relative.unwrap_or_else(|| path.to_owned())
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn described(difference: &Difference) -> serde_json::Value {
    let (kind, of, file, found) = match difference {
        Difference::New { name, file } => ("new", Some(name), Some(file), json!([])),
        Difference::Removed { file } => ("removed", None, Some(file), json!([])),
        Difference::Compatible { name, file } => ("compatible", Some(name), Some(file), json!([])),
        Difference::Incompatible {
            name, file, found, ..
        } => {
            let found: Vec<_> = found
                .iter()
                .map(|found| {
                    json!({
                        "pointer": found.pointer,
                        "aspect": found.aspect,
                        "old": found.old,
                        "new": found.new,
                        "breaksNewReaders": found.breaks_new_readers,
                        "breaksOldReaders": found.breaks_old_readers,
                    })
                })
                .collect();
            ("incompatible", Some(name), Some(file), json!(found))
        }
        Difference::Unreadable { file, .. } => ("unreadable", None, Some(file), json!([])),
        Difference::Misread { name, found, .. } => ("misread", Some(name), None, json!(found)),
    };
    json!({
        "difference": kind,
        "of": of.map(ToString::to_string),
        "file": file,
        "found": found,
        "text": difference.to_string(),
        "acceptable": difference.is_acceptable(),
    })
}
