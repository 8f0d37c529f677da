//! One step of a saga, as a pure function: from the function, its input and the journal to what is to be done.
//!
//! ```
//! # use outrigger_saga as saga;
//! use events::{JsonSchema, schemars};
//! use saga::{Command, Definition, Failure, Input, Saga, journal::Entry, run::Fresh, step::{self, Progress}};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, JsonSchema, Command)]
//! #[command("lamp-service", "switch-on", crate = saga)]
//! struct SwitchOn;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Evening;
//! impl Input for Evening { const SAGA: &'static str = "evening"; }
//! async fn evening(saga: Saga, _: Evening) -> Result<(), Failure> { saga.call(SwitchOn).await }
//!
//! let (saga, input) = (Definition::of(evening), "null");
//! let mut journal = Vec::new();
//! let first = step::step(&saga, input, &journal, Fresh::draw());
//! assert_eq!(first.effects.len(), 1); // the command is sent
//! journal.extend(first.entries);
//! journal.push(Entry::Replied { seq: 0, reply: serde_json::Value::Null });
//! let second = step::step(&saga, input, &journal, Fresh::draw());
//! assert_eq!(second.progress, Progress::Completed);
//! ```

use std::{fmt, time::Duration};

use serde_json::Value;

use crate::{
    Definition, Failure,
    compensation::{self, Next},
    journal::{self, Entry},
    replay::{End, replay},
    run::Fresh,
};

/// What comes of a step. All of it is written in one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What is added to the journal.
    pub entries: Vec<Entry>,
    /// What is to be done.
    pub effects: Vec<Effect>,
    /// How far the saga is now.
    pub progress: Progress,
}

/// Something to do for a saga.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send a command, and count it as unanswered after `limit`.
    Send {
        /// What its answer must name.
        seq: u32,
        /// Its topic.
        topic: String,
        /// The command.
        data: Value,
        /// How long it may take.
        limit: Duration,
    },
    /// Come back to the saga.
    Wake {
        /// What is then over.
        seq: u32,
        /// When.
        after: Duration,
    },
}

/// How far a saga is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Its function waits for an answer.
    Running,
    /// Its function has returned, and steps are being undone.
    Compensating(Option<Failure>),
    /// Its function succeeded.
    Completed,
    /// Its function failed, and everything that it did is undone.
    Compensated(Failure),
    /// It cannot go on by itself: an operator must look, and have it [resumed](crate::Sagas::resume).
    Parked(String),
}

/// Takes the next step after `journal`, which ends in what is newly known.
pub fn step(definition: &Definition, input: &str, journal: &[Entry], fresh: Fresh) -> Step {
    let ended = journal.iter().find_map(|entry| match entry {
        Entry::Ended { failure } => Some(failure.clone()),
        _ => None,
    });
    if let Some(failure) = ended {
        return compensate(journal, Vec::new(), Vec::new(), failure);
    }
    match replay(definition, input, journal, fresh) {
        Err(reason) => Step::parked(reason),
        Ok((End::Waiting, news)) => Step {
            entries: news.entries,
            effects: news.effects,
            progress: Progress::Running,
        },
        Ok((End::Returned(result), mut news)) => {
            let failure = result.err();
            news.entries.push(Entry::Ended {
                failure: failure.clone(),
            });
            let journal: Vec<Entry> = journal.iter().chain(&news.entries).cloned().collect();
            compensate(&journal, news.entries, news.effects, failure)
        }
    }
}

/// Goes on undoing after `journal`, adding to what the step has come to before.
fn compensate(
    journal: &[Entry],
    mut entries: Vec<Entry>,
    mut effects: Vec<Effect>,
    failure: Option<Failure>,
) -> Step {
    let progress = match compensation::next(journal, failure.is_some()) {
        Next::Wait => Progress::Compensating(failure),
        Next::Undo { of, undo, limit } => {
            let seq = journal::next_seq(journal);
            entries.push(Entry::Undoing { seq, of });
            effects.push(Effect::Send {
                seq,
                topic: undo.topic.clone(),
                data: undo.data.clone(),
                limit,
            });
            Progress::Compensating(failure)
        }
        Next::Stuck(reason) => Progress::Parked(reason),
        Next::Done => failure.map_or(Progress::Completed, Progress::Compensated),
    };
    Step {
        entries,
        effects,
        progress,
    }
}

impl Step {
    /// Nothing is done, and an operator must look.
    pub(crate) fn parked(reason: impl Into<String>) -> Self {
        Self {
            entries: Vec::new(),
            effects: Vec::new(),
            progress: Progress::Parked(reason.into()),
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Compensating(_) => f.write_str("compensating"),
            Self::Completed => f.write_str("completed"),
            Self::Compensated(failure) => write!(f, "compensated: {failure}"),
            Self::Parked(reason) => write!(f, "parked: {reason}"),
        }
    }
}
