//! `outbox`: what services have still to send, what they cannot send, and what they miss. The system may run or not.

use std::{collections::BTreeMap, process::ExitCode};

use clap::{Args, Subcommand};
use outrigger::{
    System,
    data::{Database, outbox::Status},
    env::Timestamp,
    events::sequence::{self, Gap},
    operator::{Access, databases},
};
use serde_json::{Value, json};

use crate::{Error, Global, Output, say, settings::Data, time};

/// How many are shown of what is set aside or missing, of each service.
const SHOWN: u32 = 100;

/// Show what waits to be sent, and send events again
#[derive(Args)]
#[command(after_help = "Examples:
  shop outbox status
  shop outbox status --service order-service --output json
  shop outbox replay --service order-service --since 10m
  shop outbox replay --all --since 2026-03-01T12:00:00Z
  shop outbox drop --service order-service 01982f6e-7c1d-7a55-8d5e-0f6f0b0c9a11

A replay is for a bus that has lost what it had confirmed; whoever has handled an event knows it by its id.")]
pub(crate) struct Outbox {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    data: Data,
    /// Only that of this service
    #[arg(long, global = true, value_name = "NAME")]
    service: Option<String>,
}

#[derive(Subcommand)]
enum Action {
    /// Show what waits and since when, what is set aside and why, and what is missing
    Status,
    /// Send again what was sent since, as far as it is kept, and what was set aside since
    Replay {
        /// A time (RFC 3339), or how long ago (30m, 2h, 1d)
        #[arg(long, value_name = "TIME", value_parser = time::since)]
        since: Timestamp,
        /// That of every service; otherwise --service says whose
        #[arg(long, conflicts_with = "service")]
        all: bool,
    },
    /// Give up an event that is set aside
    Drop {
        /// The id of the event
        id: String,
    },
}

impl Outbox {
    pub(crate) async fn run(self, system: System, global: &Global) -> Result<ExitCode, Error> {
        let settings = self.data.settings(global)?;
        let access = match self.action {
            Action::Status => Access::Look,
            Action::Replay { .. } | Action::Drop { .. } => Access::Change,
        };
        let outboxes = databases(&system, &settings, self.service.as_deref(), access).await?;
        match self.action {
            Action::Status => status(&outboxes, global.output).await?,
            Action::Replay { all: false, .. } if self.service.is_none() => {
                return Err(Error::WhoseOutbox);
            }
            Action::Replay { since, .. } => {
                let mut replayed = 0;
                for (service, db) in &outboxes {
                    replayed += db.outbox_replay(since).await.map_err(of(service))?;
                }
                match global.output {
                    Output::Json => say(json!({ "replayed": replayed })),
                    Output::Human => say(format!("{replayed} event(s) are sent again")),
                }
            }
            Action::Drop { id } => {
                let mut dropped = false;
                for (service, db) in &outboxes {
                    dropped |= db.outbox_drop(&id).await.map_err(of(service))?;
                }
                if !dropped {
                    return Err(Error::NotSetAside(id));
                }
                match global.output {
                    Output::Json => say(json!({ "dropped": id })),
                    Output::Human => say(format!("{id} is given up")),
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn status(outboxes: &BTreeMap<String, Database>, output: Output) -> Result<(), Error> {
    let mut all = Vec::new();
    for (service, db) in outboxes {
        let Status {
            unsent,
            oldest,
            refused,
        } = db.outbox_status().await.map_err(of(service))?;
        let set_aside = db.outbox_refused(SHOWN).await.map_err(of(service))?;
        let gaps = sequence::gaps(db, SHOWN).await?;
        let set_aside: Vec<Value> = set_aside
            .into_iter()
            .map(|it| {
                let (id, kind, key) = (it.message.id, it.message.topic, it.message.key);
                json!({ "id": id, "type": kind, "key": key, "at": it.at, "error": it.error })
            })
            .collect();
        match output {
            Output::Json => all.push(json!({
                "service": service, "unsent": unsent, "oldest": oldest,
                "refused": refused, "setAside": set_aside, "gaps": gaps,
            })),
            Output::Human => {
                let since = oldest.map_or(String::new(), |oldest| format!(" since {oldest}"));
                say(format!(
                    "{service}: {unsent} event(s) to be sent{since}, {refused} set aside"
                ));
                for event in &set_aside {
                    let text = |name: &str| event[name].as_str().unwrap_or_default();
                    let (id, kind, error) = (text("id"), text("type"), text("error"));
                    say(format!("  set aside: {id}  {kind}: {error}"));
                }
                gaps.iter().for_each(missing);
            }
        }
    }
    if output == Output::Json {
        say(json!({ "outboxes": all }));
    }
    Ok(())
}

fn missing(gap: &Gap) {
    let Gap {
        source,
        kind,
        key,
        first,
        last,
        ..
    } = gap;
    say(format!(
        "  missing: {kind} of {source} about {key}, numbers {first} to {last}; \
         `outbox replay --service {source} --since ..` sends them again while they are kept"
    ));
}

fn of(service: &str) -> impl FnOnce(outrigger::data::Error) -> Error {
    let service = service.to_owned();
    move |source| Error::Outbox { service, source }
}
