//! Which undo is next, once the function has returned. Pure.
//!
//! - Nothing is undone before every call that has an undo is answered, or has run out of time: what was refused
//!   meanwhile need not be undone.
//! - What succeeded, and what did not answer in time, is undone in the reverse of the order in which that happened,
//!   one at a time.
//! - After success, only what did not answer in time is undone: the function went on without it.

use std::{collections::BTreeMap, time::Duration};

use crate::journal::{Entry, Undo};

/// How often an undo is sent before the saga is parked, unless it is answered.
pub const UNDO_ATTEMPTS: u32 = 8;

const FIRST_LIMIT: Duration = Duration::from_secs(30);
const LONGEST_LIMIT: Duration = Duration::from_mins(5);

/// How long the attempt `attempt`, from 1, at an undo may take: 30 s, doubling, up to 5 min.
fn limit(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    (FIRST_LIMIT * (1 << doublings)).min(LONGEST_LIMIT)
}

/// What compensation does next.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    /// Wait for an answer.
    Wait,
    /// Send the undo of the call at `of`.
    Undo {
        of: u32,
        undo: &'a Undo,
        limit: Duration,
    },
    /// An operator must look.
    Stuck(String),
    /// Everything that had to be undone is.
    Done,
}

/// What is next after `journal`, in which the function returned.
pub(crate) fn next(journal: &[Entry], failed: bool) -> Next<'_> {
    let undos: BTreeMap<u32, &Undo> = journal.iter().filter_map(undoable).collect();
    let mut unanswered: BTreeMap<u32, &Undo> = undos.clone();
    let mut stack = Vec::new();
    for entry in journal {
        let Some((seq, undo)) = entry
            .answers()
            .and_then(|seq| unanswered.remove_entry(&seq))
        else {
            continue;
        };
        match entry {
            Entry::Elapsed { .. } => stack.push((seq, undo)),
            Entry::Replied { .. } if failed => stack.push((seq, undo)),
            _ => {}
        }
    }
    if failed && !unanswered.is_empty() {
        return Next::Wait;
    }
    stack
        .into_iter()
        .rev()
        .find_map(|(of, undo)| attempts(journal, of, undo))
        .unwrap_or(Next::Done)
}

fn undoable(entry: &Entry) -> Option<(u32, &Undo)> {
    match entry {
        Entry::Called {
            seq,
            undo: Some(undo),
            ..
        } => Some((*seq, undo)),
        _ => None,
    }
}

/// How it stands with one undo; `None` when it is done.
fn attempts<'a>(journal: &'a [Entry], of: u32, undo: &'a Undo) -> Option<Next<'a>> {
    let mut sent = Vec::new();
    let mut since_resumed = 0;
    let mut last = Last::Answered;
    for entry in journal {
        match entry {
            Entry::Undoing { seq, of: undone } if *undone == of => {
                sent.push(*seq);
                since_resumed += 1;
                last = Last::Waiting(*seq);
            }
            Entry::Replied { seq, .. } if sent.contains(seq) => return None,
            Entry::Refused { seq, failure } if sent.contains(seq) => last = Last::Refused(failure),
            Entry::Elapsed { seq } if last == Last::Waiting(*seq) => last = Last::Answered,
            Entry::Resumed if last.is_stuck(since_resumed) => {
                since_resumed = 0;
                last = Last::Answered;
            }
            _ => {}
        }
    }
    let topic = &undo.topic;
    Some(match last {
        Last::Waiting(_) => Next::Wait,
        Last::Refused(failure) => Next::Stuck(format!("the undo `{topic}` was refused: {failure}")),
        Last::Answered if since_resumed >= UNDO_ATTEMPTS => Next::Stuck(format!(
            "the undo `{topic}` was not answered, {UNDO_ATTEMPTS} times: look for it among the dead letters"
        )),
        Last::Answered => Next::Undo {
            of,
            undo,
            limit: limit(since_resumed + 1),
        },
    })
}

/// What became of the last attempt at an undo.
#[derive(PartialEq)]
enum Last<'a> {
    Waiting(u32),
    Refused(&'a crate::Failure),
    /// There is none under way.
    Answered,
}

impl Last<'_> {
    fn is_stuck(&self, attempts: u32) -> bool {
        match self {
            Self::Waiting(_) => false,
            Self::Refused(_) => true,
            Self::Answered => attempts >= UNDO_ATTEMPTS,
        }
    }
}
