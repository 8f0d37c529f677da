//! `sagas`: looking at the sagas of a system, and stepping in, while it runs or after it stopped.

use std::{process::ExitCode, slice};

use clap::{Args, Subcommand, value_parser};
use outrigger::{
    Operator, System,
    operator::Access,
    saga::{self, State, Status},
};
use serde_json::{Value, json};

use crate::{Error, Global, Output, say, settings::Data};

/// List sagas, show one, and step in where one cannot go on
#[derive(Args)]
#[command(after_help = "Examples:
  shop sagas list
  shop sagas list --state running --output json
  shop sagas show 0197f8a2-6d5c-7c31-9a41-5f2e0d1c8b7a
  shop sagas retry ID
  shop sagas skip ID --step 5 --reason 'confirmed by phone' --reply '{\"receipt\": \"7\"}'
  shop sagas cancel ID --reason 'the customer changed their mind'")]
pub(crate) struct Sagas {
    #[command(subcommand)]
    act: Act,

    #[command(flatten)]
    data: Data,
}

#[derive(Subcommand)]
enum Act {
    /// List sagas, those first that nothing has happened to for the longest time
    #[command(after_help = "Example:\n  shop sagas list --state parked --limit 20 --output json")]
    List {
        /// running, compensating, completed, compensated or parked; without it, what is parked or compensating
        #[arg(long, value_parser = state)]
        state: Option<State>,
        /// At most so many of a service and state
        #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Show a saga, what it was started with, and what happened to it
    #[command(after_help = "Example:\n  shop sagas show ID")]
    Show {
        /// The id of the saga
        id: String,
    },
    /// Have a parked saga try again
    #[command(after_help = "Example:\n  shop sagas retry ID")]
    Retry {
        /// The id of the saga
        id: String,
    },
    /// Count a step as done that a saga waits for or is parked over
    #[command(
        after_help = "Example:\n  shop sagas skip ID --step 5 --reason 'confirmed by phone' --reply '{\"receipt\": \"7\"}'"
    )]
    Skip {
        /// The id of the saga
        id: String,
        /// The number of the step, as `show` has it
        #[arg(long)]
        step: u32,
        /// Why, for whoever looks at the saga later
        #[arg(long)]
        reason: String,
        /// What the saga gets for a reply, as JSON
        #[arg(long, default_value = "null", value_parser = reply)]
        reply: Value,
    },
    /// End a saga, and undo what it did
    #[command(after_help = "Example:\n  shop sagas cancel ID --reason 'ordered twice'")]
    Cancel {
        /// The id of the saga
        id: String,
        /// Why: the saga fails with it
        #[arg(long)]
        reason: String,
    },
}

fn state(name: &str) -> Result<State, String> {
    let state = serde_json::from_value(name.into());
    state.map_err(|_| format!("one of {}", names(&State::ALL).join(", ")))
}

fn names(states: &[State]) -> Vec<&'static str> {
    states.iter().map(|state| state.as_str()).collect()
}

fn reply(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

impl Sagas {
    pub(crate) async fn run(self, system: System, global: &Global) -> Result<ExitCode, Error> {
        let settings = self.data.settings(global)?;
        let access = match self.act {
            Act::List { .. } | Act::Show { .. } => Access::Look,
            Act::Retry { .. } | Act::Skip { .. } | Act::Cancel { .. } => Access::Change,
        };
        let operator = Operator::open(&system, &settings, access).await?;
        match self.act {
            Act::List { state, limit } => list(&operator, state, limit, global.output).await?,
            Act::Show { id } => show(&operator, &id, global.output).await?,
            Act::Retry { id } => {
                let (_, sagas) = find(&operator, &id).await?;
                sagas.resume(&id).await.map_err(Error::Saga)?;
                done(&operator, &id, global.output).await?;
            }
            Act::Skip {
                id,
                step,
                reason,
                reply,
            } => {
                let (_, sagas) = find(&operator, &id).await?;
                let skipped = sagas.skip(&id, step, &reason, reply).await;
                skipped.map_err(Error::Saga)?;
                done(&operator, &id, global.output).await?;
            }
            Act::Cancel { id, reason } => {
                let (_, sagas) = find(&operator, &id).await?;
                sagas.cancel(&id, &reason).await.map_err(Error::Saga)?;
                done(&operator, &id, global.output).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The service that has the saga `id`, and its sagas.
async fn find<'a>(operator: &'a Operator, id: &str) -> Result<(&'a str, &'a saga::Sagas), Error> {
    operator.find(id).await.map_err(unread)
}

/// Of what only looks.
fn unread(error: saga::Error) -> Error {
    match error {
        saga::Error::NotFound { id } => Error::NoSaga(id),
        error => Error::SagasUnread(error),
    }
}

async fn list(
    operator: &Operator,
    state: Option<State>,
    limit: u32,
    output: Output,
) -> Result<(), Error> {
    let states = state.as_ref().map_or(&State::TROUBLED[..], slice::from_ref);
    let mut found = Vec::new();
    for (service, sagas) in operator.services() {
        for state in states {
            let sagas = sagas.list(*state, limit).await.map_err(unread)?;
            found.extend(sagas.into_iter().map(|status| (service, status)));
        }
    }
    match output {
        Output::Json => {
            let sagas: Vec<Value> = found
                .iter()
                .map(|(service, status)| with_service(service, status))
                .collect();
            say(json!({ "sagas": sagas }));
        }
        Output::Human if found.is_empty() => say(none(states)),
        Output::Human => found.iter().for_each(|(service, status)| {
            say(line(service, status));
        }),
    }
    Ok(())
}

/// What was looked for in vain, and where else there may be some.
fn none(states: &[State]) -> String {
    let others = State::ALL
        .into_iter()
        .filter(|state| !states.contains(state));
    let others: Vec<State> = others.collect();
    format!(
        "no saga is {}; `--state {}` lists others",
        names(states).join(" or "),
        names(&others).join("|")
    )
}

async fn show(operator: &Operator, id: &str, output: Output) -> Result<(), Error> {
    let (service, sagas) = find(operator, id).await?;
    let status = sagas.status(id).await.map_err(unread)?;
    let status = status.ok_or_else(|| Error::NoSaga(id.to_owned()))?;
    let input = sagas.input(id).await.map_err(unread)?;
    let timeline = sagas.timeline(id).await.map_err(unread)?;
    match output {
        Output::Json => {
            let mut shown = with_service(service, &status);
            shown["input"] = json!(input);
            shown["timeline"] = json!(timeline);
            say(shown);
        }
        Output::Human => {
            say(line(service, &status));
            if let Some(input) = input {
                say(format!("  input: {input}"));
            }
            for event in timeline {
                say(format!("  {:.3}  {}", event.time, event.entry));
            }
        }
    }
    Ok(())
}

/// What became of it at once. What the saga has sent is answered later.
async fn done(operator: &Operator, id: &str, output: Output) -> Result<(), Error> {
    let (service, sagas) = find(operator, id).await?;
    if let Some(status) = sagas.status(id).await.map_err(unread)? {
        match output {
            Output::Json => say(with_service(service, &status)),
            Output::Human => say(line(service, &status)),
        }
    }
    Ok(())
}

fn with_service(service: &str, status: &Status) -> Value {
    let mut value = json!(status);
    value["service"] = json!(service);
    value
}

fn line(service: &str, status: &Status) -> String {
    let Status {
        id,
        saga,
        state,
        failure,
        parked,
        updated,
        ..
    } = status;
    let mut line = format!("{state}  {service}/{saga}  {id}  {updated:.0}");
    if let Some(failure) = failure {
        line.push_str(&format!("\n  failure: {failure}"));
    }
    if let Some(reason) = parked {
        line.push_str(&format!("\n  parked: {reason}"));
    }
    line
}
