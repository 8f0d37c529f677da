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
    ledger::{Ledger, Way},
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
        /// For how long it is worth doing.
        expiry: Expiry,
    },
    /// Start a child saga, and count it as unanswered after `limit`, if there is one.
    Start {
        /// What its answer must name.
        seq: u32,
        /// The name of its function.
        saga: String,
        /// What it starts from.
        input: Value,
        /// How long it may take.
        limit: Option<Duration>,
        /// For how long it is worth doing.
        expiry: Expiry,
    },
    /// Have a child saga undo itself, and count that as unanswered after `limit`.
    Revert {
        /// What its answer must name.
        seq: u32,
        /// Where it was started.
        of: u32,
        /// How long it may take.
        limit: Duration,
    },
    /// Give the saga an event when it comes, at most for `limit`.
    Listen {
        /// What the event answers.
        seq: u32,
        /// Its type.
        event: String,
        /// Its key; `None` is the id of the saga.
        key: Option<String>,
        /// How long to wait.
        limit: Duration,
    },
    /// Come back to the saga.
    Wake {
        /// What is then over.
        seq: u32,
        /// When.
        after: Duration,
    },
    /// Come back to the saga when the time for all of it is over.
    Deadline {
        /// What is then over.
        seq: u32,
        /// When.
        after: Duration,
    },
}

/// For how long something that is sent is worth doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It must be done, however late: an undo.
    Never,
    /// Until it counts as unanswered: past the point of no return, where a deadline has no effect.
    Limit,
    /// Until then, or until the deadline of the saga, if that is earlier.
    Deadline,
}

impl Effect {
    /// Which step it is of.
    pub(crate) fn seq(&self) -> u32 {
        match self {
            Self::Send { seq, .. }
            | Self::Start { seq, .. }
            | Self::Revert { seq, .. }
            | Self::Listen { seq, .. }
            | Self::Wake { seq, .. }
            | Self::Deadline { seq, .. } => *seq,
        }
    }

    /// Whether it is a command.
    pub(crate) fn is_sent(&self) -> bool {
        matches!(
            self,
            Self::Send { .. } | Self::Start { .. } | Self::Revert { .. }
        )
    }

    /// When it counts as unanswered, and which step that answers; `None` where it may take as long as it takes.
    pub fn timer(&self) -> Option<(u32, Duration)> {
        match self {
            Self::Send { seq, limit, .. }
            | Self::Revert { seq, limit, .. }
            | Self::Listen { seq, limit, .. }
            | Self::Wake { seq, after: limit }
            | Self::Deadline { seq, after: limit } => Some((*seq, *limit)),
            Self::Start { seq, limit, .. } => limit.map(|limit| (*seq, limit)),
        }
    }
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
    if let Some(reason) = unreadable(journal) {
        return Step::parked(reason);
    }
    if let Some(step) = undo(journal) {
        return step;
    }
    let (end, mut news) = match replay(definition, input, journal, fresh) {
        Ok(ran) => ran,
        Err(reason) => return Step::parked(reason),
    };
    let progress = match end {
        End::Waiting => Progress::Running,
        End::Hanging(why) => Progress::Parked(why),
        End::Returned(result) => {
            let failure = result.err();
            if let Some(failure) = &failure
                && (journal::is_past_return(journal) || journal::is_past_return(&news.entries))
            {
                return Step::parked(format!(
                    "the code failed past its point of no return: {failure}. Have it handle that, and retry"
                ));
            }
            news.entries.push(Entry::Ended { failure });
            let whole = [journal, &news.entries].concat();
            let then = undo(&whole).expect("the journal ends with the end");
            news.entries.extend(then.entries);
            news.effects.extend(then.effects);
            then.progress
        }
    };
    Step {
        entries: news.entries,
        effects: news.effects,
        progress,
    }
}

fn unreadable(journal: &[Entry]) -> Option<String> {
    let mut lines = journal.iter().enumerate();
    lines.find_map(|(number, entry)| match entry {
        Entry::Unreadable { line, reason } => Some(format!(
            "line {number} of the journal cannot be read: {reason} in `{line}`. If a newer version of the service has \
             written it, run that one, and retry"
        )),
        _ => None,
    })
}

/// Goes on undoing, without running the function, where that is over; all that it did is in the journal.
fn undo(journal: &[Entry]) -> Option<Step> {
    let ledger = Ledger::of(journal);
    let failure = ledger.end.clone()?;
    let mut step = Step {
        entries: Vec::new(),
        effects: Vec::new(),
        progress: Progress::Compensating(failure.clone()),
    };
    match compensation::next(journal, &ledger, failure.is_some()) {
        Next::Wait => {}
        Next::Undo { of, undo, limit } => {
            let seq = journal::next_seq(journal);
            step.entries.push(Entry::Undoing { seq, of });
            step.effects.push(match undo {
                Way::Command(undo) => Effect::Send {
                    seq,
                    topic: undo.topic.clone(),
                    data: undo.data.clone(),
                    limit,
                    expiry: Expiry::Never,
                },
                Way::Child(of) => Effect::Revert { seq, of, limit },
            });
        }
        Next::Stuck(reason) => step.progress = Progress::Parked(reason),
        Next::Done => {
            step.progress = failure.map_or(Progress::Completed, Progress::Compensated);
        }
    }
    Some(step)
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
