//! Which undo is next, once the function has returned or was interrupted. Pure.
//!
//! - Nothing is undone before every call that has an undo is answered, or has run out of time: what was refused
//!   meanwhile need not be undone. A child saga that goes on still is not waited for: it is told to undo itself.
//! - What succeeded, and what did not answer in time, is undone in the reverse of the order in which that happened,
//!   one at a time. So what was begun because something else was done is undone before that, in parallel branches too.
//! - After success, only what the function went on without is undone: what did not answer in time, and what it dropped
//!   before it heard of an answer. For that nobody waits any more.

use std::time::Duration;

use crate::{
    journal::Entry,
    ledger::{Errand, Ledger, Standing, Way},
};

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
    /// Undo what was begun at `of`.
    Undo {
        of: u32,
        undo: Way<'a>,
        limit: Duration,
    },
    /// An operator must look.
    Stuck(String),
    /// Everything that had to be undone is.
    Done,
}

/// What is next after `journal`, which stands as `ledger` says; the function is not run any more.
pub(crate) fn next<'a>(journal: &'a [Entry], ledger: &Ledger<'a>, failed: bool) -> Next<'a> {
    let mut stack = Vec::new();
    for (of, errand) in &ledger.errands {
        let Some(undo) = errand.undo else { continue };
        // What was begun to be undone comes first: a success that is taken back can put others above it.
        let begun = errand.is_being_undone();
        match place(errand, undo, failed) {
            Place::None => {}
            Place::At(line) => stack.push(((begun, line, *of), undo)),
            Place::NotYet => return Next::Wait,
        }
    }
    stack.sort_by_key(|(place, _)| *place);
    let undone = |((_, _, of), undo): ((bool, usize, u32), Way<'a>)| attempts(journal, of, undo);
    let next = stack.into_iter().rev().find_map(undone);
    next.unwrap_or(Next::Done)
}

/// Where an errand is on the stack.
enum Place {
    None,
    At(usize),
    NotYet,
}

fn place(errand: &Errand<'_>, undo: Way<'_>, failed: bool) -> Place {
    let left = errand.left();
    match (errand.standing(), undo) {
        (Standing::Unknown(line), _) => Place::At(line),
        (Standing::Done(line), _) if failed || left.is_some() => Place::At(line),
        // What is begun is brought to its end.
        (Standing::Open, Way::Command(_)) if failed && !errand.is_being_undone() => Place::NotYet,
        // On top: it is what goes on now.
        (Standing::Open, _) if failed => Place::At(usize::MAX),
        (Standing::Open, _) => left.map_or(Place::None, Place::At),
        _ => Place::None,
    }
}

/// How it stands with one undo; `None` when it is done.
fn attempts<'a>(journal: &'a [Entry], of: u32, undo: Way<'a>) -> Option<Next<'a>> {
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
            Entry::Replied { seq, .. } | Entry::Skipped { seq, .. } if sent.contains(seq) => {
                return None;
            }
            Entry::Refused { seq, failure } if sent.contains(seq) => last = Last::Refused(failure),
            Entry::Elapsed { seq } if last == Last::Waiting(*seq) => last = Last::Answered,
            Entry::Resumed if last.is_stuck(since_resumed) => {
                since_resumed = 0;
                last = Last::Answered;
            }
            _ => {}
        }
    }
    let what = || match undo {
        Way::Command(undo) => format!("the undo `{}`", undo.topic),
        Way::Child(_) => format!("undoing the child saga of step {of}"),
    };
    Some(match last {
        Last::Waiting(_) => Next::Wait,
        Last::Refused(failure) => Next::Stuck(format!("{} was refused: {failure}", what())),
        Last::Answered if since_resumed >= UNDO_ATTEMPTS => Next::Stuck(format!(
            "{} was not answered, {UNDO_ATTEMPTS} times: look for it among the dead letters",
            what()
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
