//! `dead-letters`: what services could not handle, looked at, tried again, given up. The system may run or not.

use std::{collections::BTreeMap, process::ExitCode};

use clap::{Args, Subcommand};
use outrigger::{
    System,
    dead_letters::open,
    events::{
        DeadLetter, DeadLetters as Store,
        dead_letters::{Filter, PAGE_LIMIT},
    },
    operator::Access,
};
use serde_json::{Value, json};

use crate::{Error, Global, Output, say, settings::Data};

/// List, show, replay and drop the events that services could not handle
#[derive(Args)]
#[command(after_help = "Examples:
  shop dead-letters list
  shop dead-letters list --service order-service --type user.updated --output json
  shop dead-letters show 01982f6e-7c1d-7a55-8d5e-0f6f0b0c9a11
  shop dead-letters replay 01982f6e-7c1d-7a55-8d5e-0f6f0b0c9a11
  shop dead-letters replay 01982f6e-7c1d-7a55-8d5e-0f6f0b0c9a11 --edit '{\"name\": \"Ada\"}'
  shop dead-letters replay --type user.updated
  shop dead-letters drop 01982f6e-7c1d-7a55-8d5e-0f6f0b0c9a11

A replay keeps the order: what waits behind a dead letter follows it. Dropping gives an event up for good.")]
pub(crate) struct DeadLetters {
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
    /// List them, at most 1000 of each service
    List {
        /// Only those with events of this type
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        /// Only those that expired before they were handled
        #[arg(long)]
        expired: bool,
    },
    /// Show one with its event
    Show {
        /// The id of the event
        id: String,
    },
    /// Have one, or all of a type, tried again
    Replay {
        #[command(flatten)]
        which: Which,
        /// The data that the event is to have instead, as JSON
        #[arg(long, value_name = "JSON", requires = "id")]
        edit: Option<String>,
    },
    /// Give up one, or all of a type
    Drop {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The id of the event
    id: Option<String>,
    /// All with events of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

impl Which {
    fn filter(&self) -> Filter {
        Filter {
            group: None,
            kind: self.kind.clone(),
            id: self.id.clone(),
            ..Filter::default()
        }
    }
}

impl DeadLetters {
    pub(crate) async fn run(self, system: System, global: &Global) -> Result<ExitCode, Error> {
        let settings = self.data.settings(global)?;
        let access = match self.action {
            Action::List { .. } | Action::Show { .. } => Access::Look,
            Action::Replay { .. } | Action::Drop { .. } => Access::Change,
        };
        let stores = open(&system, &settings, self.service.as_deref(), access).await?;
        match self.action {
            Action::List { kind, expired } => {
                let filter = Filter {
                    kind,
                    expired,
                    ..Filter::default()
                };
                list(&stores, &filter, global.output).await?;
            }
            Action::Show { id } => {
                let mut found = every(&stores, &Filter::id(&id)).await?;
                let (service, letter) = found.pop().ok_or(Error::NoDeadLetter(id))?;
                show(&service, &letter, global.output);
            }
            Action::Replay { which, edit } => {
                let edit = edit.map(|text| serde_json::from_str::<Value>(&text));
                let edit = edit.transpose().map_err(Error::Edit)?;
                let replayed = replay(&stores, &which, edit).await?;
                done("replayed", replayed, &which, global.output)?;
            }
            Action::Drop { which } => {
                let mut dropped = 0;
                for (service, store) in &stores {
                    dropped += store.drop(&which.filter()).await.map_err(of(service))?;
                }
                done("dropped", dropped, &which, global.output)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

type Stores = BTreeMap<String, Store>;

async fn every(stores: &Stores, filter: &Filter) -> Result<Vec<(String, DeadLetter)>, Error> {
    let mut found = Vec::new();
    for (service, store) in stores {
        let page = store.list(filter, None, PAGE_LIMIT).await;
        let letters = page.map_err(of(service))?.dead_letters;
        found.extend(letters.into_iter().map(|letter| (service.clone(), letter)));
    }
    Ok(found)
}

async fn list(stores: &Stores, filter: &Filter, output: Output) -> Result<(), Error> {
    let found = every(stores, filter).await?;
    match output {
        Output::Json => {
            let letters: Vec<Value> = found
                .iter()
                .map(|(service, letter)| json!({ "service": service, "deadLetter": letter }))
                .collect();
            say(json!({ "deadLetters": letters }));
        }
        Output::Human => {
            for (service, letter) in &found {
                let DeadLetter { event, error, .. } = letter;
                let (id, kind, held) = (&event.id, &event.kind, letter.held);
                say(format!(
                    "{id}  {service}  {kind}  {} attempt(s), {held} waiting behind it: {error}",
                    letter.attempts
                ));
            }
            say(format!("{} dead letter(s)", found.len()));
        }
    }
    Ok(())
}

fn show(service: &str, letter: &DeadLetter, output: Output) {
    let whole = json!({ "service": service, "deadLetter": letter });
    match output {
        Output::Json => say(whole),
        Output::Human => say(format!("{whole:#}")),
    }
}

async fn replay(stores: &Stores, which: &Which, edit: Option<Value>) -> Result<u64, Error> {
    let mut replayed = 0;
    for (service, store) in stores {
        replayed += match (&which.id, &edit) {
            (Some(id), Some(data)) => match store.replay_edited(id, data.clone()).await {
                Ok(()) => 1,
                // It is another service's.
                Err(outrigger::events::Error::NoDeadLetter { .. }) => 0,
                Err(error) => return Err(of(service)(error)),
            },
            _ => store.replay(&which.filter()).await.map_err(of(service))?,
        };
    }
    Ok(replayed)
}

/// Says how many; one that was asked for by its id must have been there.
fn done(what: &str, count: u64, which: &Which, output: Output) -> Result<(), Error> {
    if let (0, Some(id)) = (count, &which.id) {
        return Err(Error::NoDeadLetter(id.clone()));
    }
    match output {
        Output::Json => say(json!({ what: count })),
        Output::Human => say(format!("{count} dead letter(s) {what}")),
    }
    Ok(())
}

fn of(service: &str) -> impl FnOnce(outrigger::events::Error) -> Error {
    let service = service.to_owned();
    move |source| Error::DeadLetters { service, source }
}
