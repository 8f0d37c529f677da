//! What is remembered of a saga: all that its function did, and all that was answered.
//!
//! The function itself is never stored. It is run again from its beginning, and its journal tells it what was
//! answered, in the order in which that happened. So each thing that it does has a *seq*: its place in the order in
//! which the function does things, which is the same in every run.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Failure, deed::Deed, ledger::Ledger, wire};

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
    /// The function started a saga of its own, and is told how it ends.
    Child {
        /// Its place in the sequence.
        seq: u32,
        /// The name of that saga.
        saga: String,
    },
    /// What was sent at `of` is sent again, after a pause.
    BackedOff {
        /// Its place in the sequence.
        seq: u32,
        /// The place of the first attempt.
        of: u32,
    },
    /// What was sent at `of` was sent again.
    Retried {
        /// Its place in the sequence.
        seq: u32,
        /// The place of the first attempt.
        of: u32,
    },
    /// The function waits for a signal from outside.
    Waited {
        /// Its place in the sequence.
        seq: u32,
        /// The type of the event that is the signal.
        event: String,
        /// What the signal is matched by; `None` is the id of the saga.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// The function went to sleep.
    Slept {
        /// Its place in the sequence.
        seq: u32,
    },
    /// The function set itself a time to end by.
    Deadline {
        /// Its place in the sequence.
        seq: u32,
    },
    /// The function passed its point of no return: what it does from here on is only ever tried again.
    PastReturn {
        /// Its place in the sequence.
        seq: u32,
    },
    /// The function went the newer way at a gate.
    Versioned {
        /// Its place in the sequence.
        seq: u32,
        /// The name of the gate.
        name: String,
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
    /// The code dropped a call, a child saga or a wait for a signal before it heard of an answer.
    Left {
        /// What it does not wait for any more.
        seq: u32,
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
    /// The signal came that was waited for at `seq`.
    Signalled {
        /// What it answers.
        seq: u32,
        /// The data of the event.
        data: Value,
    },
    /// An operator said to count what was begun at `seq` as done.
    Skipped {
        /// What it answers.
        seq: u32,
        /// Why.
        reason: String,
        /// What the function gets for a reply.
        reply: Value,
    },
    /// Somebody asked for the saga to be undone.
    Cancelled {
        /// Why.
        failure: Failure,
    },
    /// The time was over that whoever started the saga had given it.
    Overdue,
    /// An operator said to go on where the saga was parked.
    Resumed,
    /// A line that this version cannot read; never written. A newer version of the service may have written what is
    /// there. The saga is parked until it can be read.
    #[serde(skip_deserializing)]
    Unreadable {
        /// What is there.
        line: String,
        /// Why it cannot be read.
        reason: String,
    },
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
    /// Reads a line as it is stored.
    pub(crate) fn read(line: String) -> Self {
        serde_json::from_str(&line).unwrap_or_else(|error| Self::Unreadable {
            line,
            reason: error.to_string(),
        })
    }

    /// The place in the sequence of what was done; `None` of an answer.
    pub fn made_at(&self) -> Option<u32> {
        match self {
            Self::Called { seq, .. }
            | Self::Child { seq, .. }
            | Self::BackedOff { seq, .. }
            | Self::Retried { seq, .. }
            | Self::Waited { seq, .. }
            | Self::Slept { seq }
            | Self::Deadline { seq }
            | Self::PastReturn { seq }
            | Self::Versioned { seq, .. }
            | Self::Recorded { seq, .. }
            | Self::Undoing { seq, .. } => Some(*seq),
            _ => None,
        }
    }

    /// The place in the sequence that is answered; `None` of what is no answer.
    pub fn answers(&self) -> Option<u32> {
        match self {
            Self::Replied { seq, .. }
            | Self::Refused { seq, .. }
            | Self::Elapsed { seq }
            | Self::Signalled { seq, .. }
            | Self::Skipped { seq, .. } => Some(*seq),
            _ => None,
        }
    }

    /// What the function did, for comparison with what it does now.
    pub(crate) fn deed(&self) -> Option<Deed<'_>> {
        Some(match self {
            Self::Called { topic, .. } => Deed::Call(topic),
            Self::Child { saga, .. } => Deed::Child(saga),
            Self::BackedOff { of, .. } => Deed::BackOff(*of),
            Self::Retried { of, .. } => Deed::Retry(*of),
            Self::Waited { event, .. } => Deed::Wait(event),
            Self::Slept { .. } => Deed::Sleep,
            Self::Deadline { .. } => Deed::Deadline,
            Self::PastReturn { .. } => Deed::PastReturn,
            Self::Versioned { name, .. } => Deed::Version(name),
            Self::Recorded { what, .. } => Deed::Record(what),
            _ => return None,
        })
    }
}

/// Whether `answer` says anything new. Duplicates, and answers to what nobody waits for any more, do not. Of a journal
/// that cannot be read nobody knows: whatever comes is kept until it can be.
pub fn awaits(journal: &[Entry], answer: &Entry) -> bool {
    Ledger::of(journal).awaits(answer)
}

/// Whether the function is past the point from which it only goes forward.
pub fn is_past_return(journal: &[Entry]) -> bool {
    let passed = |entry: &Entry| matches!(entry, Entry::PastReturn { .. });
    journal.iter().any(passed)
}

/// Whether a command that was sent to `service` may still be handled: its handler has not answered yet.
pub(crate) fn is_under_way(journal: &[Entry], service: &str) -> bool {
    let answered = |entry: &Entry| match entry {
        Entry::Replied { seq, .. } | Entry::Refused { seq, .. } => Some(*seq),
        _ => None,
    };
    let answered: BTreeSet<u32> = journal.iter().filter_map(answered).collect();
    let commands = wire::commands_of(service);
    let goes_there = |topic: &str| topic.starts_with(&commands);
    // By the first attempt: whether it, and whether what undoes it, is sent there.
    let mut errands: BTreeMap<u32, (bool, bool)> = BTreeMap::new();
    journal.iter().any(|entry| {
        let (seq, sent_there) = match entry {
            Entry::Called { seq, topic, undo } => {
                let undone_there = undo.as_ref().is_some_and(|undo| goes_there(&undo.topic));
                errands.insert(*seq, (goes_there(topic), undone_there));
                (seq, goes_there(topic))
            }
            // A child is a saga of the same service.
            Entry::Child { seq, .. } => {
                errands.insert(*seq, (true, true));
                (seq, true)
            }
            Entry::Retried { seq, of } => (seq, errands.get(of).is_some_and(|errand| errand.0)),
            Entry::Undoing { seq, of } => (seq, errands.get(of).is_some_and(|errand| errand.1)),
            _ => return false,
        };
        sent_there && !answered.contains(seq)
    })
}

/// The place in the sequence that is free.
pub(crate) fn next_seq(journal: &[Entry]) -> u32 {
    let last = journal.iter().filter_map(Entry::made_at).max();
    last.map_or(0, |last| last + 1)
}
