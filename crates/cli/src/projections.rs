//! `projections`: how far the read models of services are, and what is done about them. The system may run or not.

use std::{collections::BTreeMap, process::ExitCode};

use clap::{Args, Subcommand};
use outrigger::{
    System,
    data::Database,
    eventsourcing::projection::{self, State, Status},
    operator::{Access, databases},
};
use serde_json::json;

use crate::{Error, Global, Output, say, settings::Data};

/// Show how far projections are, and let them stand still, go on or begin again
#[derive(Args)]
#[command(after_help = "Examples:
  shop projections list
  shop projections pause order-history --service order-service
  shop projections resume order-history
  shop projections reset order-history

What a projection wrote is read incomplete after a reset until it has caught up. To build it anew behind what is read, raise its version.")]
pub(crate) struct Projections {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    data: Data,
    /// Only those of this service
    #[arg(long, global = true, value_name = "NAME")]
    service: Option<String>,
}

#[derive(Subcommand)]
enum Action {
    /// Show each version: what it is there for, its position, and why it cannot go on
    List,
    /// Let one stand still, through restarts too
    Pause {
        /// Its name
        name: String,
    },
    /// Let one go on where it stood still
    Resume {
        /// Its name
        name: String,
    },
    /// Empty its tables, and let it begin at the first event
    Reset {
        /// Its name
        name: String,
    },
}

impl Projections {
    pub(crate) async fn run(self, system: System, global: &Global) -> Result<ExitCode, Error> {
        let settings = self.data.settings(global)?;
        let access = match self.action {
            Action::List => Access::Look,
            _ => Access::Change,
        };
        let mut all = databases(&system, &settings, self.service.as_deref(), access).await?;
        all.retain(|service, _| {
            let service = system.find(service);
            service.is_ok_and(|service| !service.projections().is_empty())
        });
        let (name, done) = match &self.action {
            Action::List => {
                list(&all, global.output).await?;
                return Ok(ExitCode::SUCCESS);
            }
            Action::Pause { name } => (name, "stands still"),
            Action::Resume { name } => (name, "goes on"),
            Action::Reset { name } => (name, "begins at the first event"),
        };
        let (service, db) = owner(&all, name).await?;
        let outcome = match self.action {
            Action::Pause { .. } => projection::pause(db, name).await,
            Action::Resume { .. } => projection::resume(db, name).await,
            _ => projection::reset(db, name).await,
        };
        outcome.map_err(of(service))?;
        match global.output {
            Output::Json => say(json!({ "service": service, "projection": name })),
            Output::Human => say(format!("{name} of {service} {done}")),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The service whose projection this is, and its database.
async fn owner<'a>(
    all: &'a BTreeMap<String, Database>,
    name: &str,
) -> Result<(&'a str, &'a Database), Error> {
    for (service, db) in all {
        let projections = projection::list(db).await.map_err(of(service))?;
        if projections.iter().any(|status| status.name == name) {
            return Ok((service, db));
        }
    }
    Err(Error::NoProjection(name.to_owned()))
}

async fn list(all: &BTreeMap<String, Database>, output: Output) -> Result<(), Error> {
    let mut listed = Vec::new();
    for (service, db) in all {
        for status in projection::list(db).await.map_err(of(service))? {
            match output {
                Output::Json => listed.push(json!({ "service": service, "projection": status })),
                Output::Human => show(service, &status),
            }
        }
    }
    match output {
        Output::Json => say(json!({ "projections": listed })),
        Output::Human if all.is_empty() => say("no service that has run has projections"),
        Output::Human => {}
    }
    Ok(())
}

fn show(service: &str, status: &Status) {
    let Status {
        name,
        version,
        position,
        updated,
        failures,
        ..
    } = status;
    let state = match status.state {
        State::Building => "building",
        State::Serving => "serving",
        State::Retired => "retired",
    };
    let paused = if status.paused { ", paused" } else { "" };
    say(format!(
        "{service}: {name} version {version}, {state}{paused}, at {position} since {updated}"
    ));
    if let Some(error) = &status.error {
        say(format!("  has failed {failures} time(s): {error}"));
    }
}

fn of(service: &str) -> impl FnOnce(outrigger::eventsourcing::Error) -> Error {
    let service = service.to_owned();
    move |source| Error::Projections { service, source }
}
