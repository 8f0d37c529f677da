//! What the journals of sagas say about undoing, read without the code that wrote them.

use std::collections::BTreeMap;

use outrigger::{
    Inspection, data,
    saga::{Entry, State, failure::TIMEOUT},
};

use crate::history::undo::{Step, in_reverse};

/// A saga that has ended, and all that happened to it.
pub(super) struct Journal {
    saga: String,
    state: String,
    entries: Vec<Entry>,
}

/// The journals of the sagas of `service`.
pub(super) async fn of(view: &Inspection, service: &str) -> Result<Vec<Journal>, String> {
    const SAGAS: &str = "SELECT s.id, s.state, j.entry FROM outrigger_sagas s
         JOIN outrigger_saga_journal j ON j.saga_id = s.id ORDER BY s.id, j.position";
    let mut journals: Vec<Journal> = Vec::new();
    for row in view.query(service, SAGAS, &[]).await? {
        let read = || -> data::Result<(String, String, String)> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        };
        let (saga, state, entry) = read().map_err(|error| error.to_string())?;
        let entry = serde_json::from_str(&entry)
            .map_err(|error| format!("the journal of {saga} cannot be read: {error}"))?;
        match journals.last_mut() {
            Some(last) if last.saga == saga => last.entries.push(entry),
            _ => journals.push(Journal {
                saga,
                state,
                entries: vec![entry],
            }),
        }
    }
    Ok(journals)
}

impl Journal {
    /// Whether what was done was undone in reverse, and all of it where the saga was compensated.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.is_intricate() {
            return Ok(());
        }
        let saga = &self.saga;
        let left = in_reverse(self.steps()).map_err(|error| format!("saga {saga}: {error}"))?;
        let compensated = self.state == State::Compensated.as_str();
        match left.last() {
            Some(step) if compensated => Err(format!(
                "saga {saga} is compensated, and its step {step} is not undone"
            )),
            _ => Ok(()),
        }
    }

    /// The paths that it took.
    pub(super) fn paths(&self) -> impl Iterator<Item = &'static str> {
        let called = |seq: &u32| {
            let is_it = |entry: &Entry| {
                matches!(entry, Entry::Called { .. } | Entry::Retried { .. })
                    && entry.made_at() == Some(*seq)
            };
            self.entries.iter().any(is_it)
        };
        let path = move |entry: &Entry| match entry {
            Entry::Elapsed { seq } if called(seq) => Some("step timed out"),
            Entry::Undoing { .. } => Some("step undone"),
            Entry::Cancelled { .. } => Some("saga cancelled"),
            _ => None,
        };
        let unknown = self.undoes_what_is_unknown();
        let unknown = unknown.then_some("unknown outcome undone");
        self.entries.iter().filter_map(path).chain(unknown)
    }

    /// Whether something is undone that was not answered in time.
    fn undoes_what_is_unknown(&self) -> bool {
        let elapsed = |of: &u32| {
            let is_it = |entry: &Entry| matches!(entry, Entry::Elapsed { seq } if seq == of);
            self.entries.iter().any(is_it)
        };
        let is_it = |entry: &Entry| matches!(entry, Entry::Undoing { of, .. } if elapsed(of));
        self.entries.iter().any(is_it)
    }

    /// Whether some of it undoes itself, or is undone although the whole succeeded: which of its steps those are is not
    /// said by the order of its answers.
    fn is_intricate(&self) -> bool {
        let is_intricate = |entry: &Entry| {
            matches!(
                entry,
                Entry::Child { .. } | Entry::Left { .. } | Entry::Ended { failure: None }
            )
        };
        self.entries.iter().any(is_intricate)
    }

    fn steps(&self) -> Vec<Step<u32>> {
        let mut attempts: BTreeMap<u32, u32> = BTreeMap::new();
        let mut undos: BTreeMap<u32, u32> = BTreeMap::new();
        let mut calls: BTreeMap<u32, Standing> = BTreeMap::new();
        let mut steps = Vec::new();
        for entry in &self.entries {
            match entry {
                Entry::Called { seq, undo, .. } if undo.is_some() => {
                    attempts.insert(*seq, *seq);
                    calls.insert(*seq, Standing::Open);
                    steps.push(Step::Asked(*seq));
                }
                Entry::Retried { seq, of } if calls.contains_key(of) => {
                    attempts.insert(*seq, *of);
                    if calls.get(of) != Some(&Standing::Done) {
                        steps.push(Step::Asked(*of));
                    }
                }
                Entry::Undoing { seq, of } => {
                    undos.insert(*seq, *of);
                    steps.push(Step::Undoing(*of));
                }
                _ => {}
            }
            let Some(answered) = entry.answers() else {
                continue;
            };
            if let Some(of) = undos.get(&answered) {
                let is_undone = matches!(entry, Entry::Replied { .. } | Entry::Skipped { .. });
                steps.extend(is_undone.then_some(Step::Undone(*of)));
            } else if let Some(of) = attempts.get(&answered)
                && let Some(standing) = calls.get_mut(of)
            {
                steps.extend(standing.hear(entry, *of));
            }
        }
        steps
    }
}

/// What is known of a call.
#[derive(PartialEq, Eq)]
enum Standing {
    Open,
    /// It may have been done.
    Unknown,
    Done,
}

impl Standing {
    fn hear(&mut self, answer: &Entry, of: u32) -> Option<Step<u32>> {
        match (&self, answer) {
            (Self::Done, _) => return None,
            (_, Entry::Replied { .. } | Entry::Skipped { .. }) => *self = Self::Done,
            (_, Entry::Elapsed { .. }) => *self = Self::Unknown,
            // Who had no time left for it does not know either whether an attempt had begun.
            (_, Entry::Refused { failure, .. }) if failure.code == TIMEOUT => *self = Self::Unknown,
            (Self::Open, _) => return Some(Step::Refused(of)),
            (Self::Unknown, _) => {}
        }
        Some(Step::Done(of))
    }
}
