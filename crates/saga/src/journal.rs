//! What is remembered of a saga: all that its function did, and all that was answered.
//!
//! The function itself is never stored. It is run again from its beginning, and its journal tells it what was
//! answered, in the order in which that happened. So each thing that it does has a *seq*: its place in the order in
//! which the function does things, which is the same in every run.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Failure;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// The function made a call: a command was sent.
    Called {
        /// Its place in the sequence.
        seq: u32,
        /// The topic of the command.
        topic: String,
        /// What takes it back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undo: Option<Undo>,
    },
    /// The function went to sleep.
    Slept {
        /// Its place in the sequence.
        seq: u32,
    },
    /// The function asked for a value that differs from run to run.
    Recorded {
        /// Its place in the sequence.
        seq: u32,
        /// What it asked for.
        what: String,
        /// What it got, and gets in every run from now on.
        value: Value,
    },
    /// The function returned.
    Ended {
        /// Why it failed; `None` when it did not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// The undo of a call was sent.
    Undoing {
        /// Its place in the sequence.
        seq: u32,
        /// The place of the call that it undoes.
        of: u32,
    },
    /// What was sent at `seq` was done.
    Replied {
        /// What it answers.
        seq: u32,
        /// The reply.
        reply: Value,
    },
    /// What was sent at `seq` was refused.
    Refused {
        /// What it answers.
        seq: u32,
        /// Why.
        failure: Failure,
    },
    /// The time of what was begun at `seq` is over: a sleep ended, or an answer did not come.
    Elapsed {
        /// What it answers.
        seq: u32,
    },
    /// An operator said to go on where the saga was parked.
    Resumed,
}

/// A command that takes back what another did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// Its topic.
    pub topic: String,
    /// The command.
    pub data: Value,
}

impl Entry {
    /// The place in the sequence of what was done; `None` of an answer.
    pub(crate) fn made_at(&self) -> Option<u32> {
        match self {
            Self::Called { seq, .. }
            | Self::Slept { seq }
            | Self::Recorded { seq, .. }
            | Self::Undoing { seq, .. } => Some(*seq),
            _ => None,
        }
    }

    /// The place in the sequence that is answered; `None` of what is no answer.
    pub(crate) fn answers(&self) -> Option<u32> {
        match self {
            Self::Replied { seq, .. } | Self::Refused { seq, .. } | Self::Elapsed { seq } => {
                Some(*seq)
            }
            _ => None,
        }
    }

    /// What the function did, for comparison with what it does now.
    pub(crate) fn deed(&self) -> Option<Deed<'_>> {
        match self {
            Self::Called { topic, .. } => Some(Deed::Call(topic)),
            Self::Slept { .. } => Some(Deed::Sleep),
            Self::Recorded { what, .. } => Some(Deed::Record(what)),
            _ => None,
        }
    }
}

/// Something that a function does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed<'a> {
    Call(&'a str),
    Sleep,
    Record(&'a str),
}

impl fmt::Display for Deed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(topic) => write!(f, "a call of `{topic}`"),
            Self::Sleep => f.write_str("a sleep"),
            Self::Record(what) => write!(f, "a recorded {what}"),
        }
    }
}

/// Whether `answer` says anything new. Duplicates, and answers to what nobody waits for any more, do not.
pub fn awaits(journal: &[Entry], answer: &Entry) -> bool {
    let Some(seq) = answer.answers() else {
        return true;
    };
    let Some(made) = journal.iter().find(|entry| entry.made_at() == Some(seq)) else {
        return false;
    };
    let mut earlier = journal
        .iter()
        .filter(|entry| entry.answers() == Some(seq))
        .peekable();
    match (made, answer) {
        // That an undo took its time does not make it undone: an answer counts whenever it comes.
        (Entry::Undoing { .. }, Entry::Replied { .. } | Entry::Refused { .. }) => {
            earlier.all(|entry| matches!(entry, Entry::Elapsed { .. }))
        }
        (Entry::Slept { .. }, Entry::Elapsed { .. })
        | (Entry::Called { .. } | Entry::Undoing { .. }, _) => earlier.peek().is_none(),
        _ => false,
    }
}

/// The place in the sequence that is free.
pub(crate) fn next_seq(journal: &[Entry]) -> u32 {
    let last = journal.iter().filter_map(Entry::made_at).max();
    last.map_or(0, |last| last + 1)
}
