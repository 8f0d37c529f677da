//! Undoing: what was done is undone in the reverse of the order in which it was done, one at a time (G5).

use std::{collections::BTreeSet, fmt::Debug};

/// What happened to something that can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<K> {
    /// It was asked for, once more perhaps, and is not answered yet.
    Asked(K),
    /// It was done; or it may have been, for no answer came in time. The latest counts.
    Done(K),
    /// It was refused: there is nothing to undo.
    Refused(K),
    /// Its undoing began, once more perhaps.
    Undoing(K),
    /// It was undone.
    Undone(K),
}

/// Something that was undone when it was not its turn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disorder<K: Debug> {
    /// What was done after it was not undone before it.
    #[error("{undone:?} is undone before {later:?}, which was done later")]
    TooEarly {
        /// What is undone.
        undone: K,
        /// What should have been undone before.
        later: K,
    },
    /// Another one was being undone.
    #[error("{undone:?} is undone while {other:?} still is")]
    AtOnce {
        /// What is undone.
        undone: K,
        /// What was being undone.
        other: K,
    },
    /// Something was not answered yet.
    #[error("{undone:?} is undone while {open:?} may still be done")]
    Open {
        /// What is undone.
        undone: K,
        /// What was not answered.
        open: K,
    },
    /// It was not done.
    #[error("{undone:?} is undone and was never done")]
    NotDone {
        /// What is undone.
        undone: K,
    },
}

/// Whether everything that was undone was so in its turn; what was done and not undone, in the order in which it was done.
///
/// # Errors
/// The first that was undone when it was not its turn.
pub fn in_reverse<K: Ord + Clone + Debug>(
    steps: impl IntoIterator<Item = Step<K>>,
) -> Result<Vec<K>, Disorder<K>> {
    let mut open = BTreeSet::new();
    let mut done: Vec<K> = Vec::new();
    let mut undoing = None;
    for step in steps {
        match step {
            Step::Asked(key) => _ = open.insert(key),
            Step::Done(key) => {
                open.remove(&key);
                done.retain(|other| *other != key);
                done.push(key);
            }
            Step::Refused(key) => _ = open.remove(&key),
            Step::Undoing(key) => {
                if undoing.as_ref() == Some(&key) {
                    continue;
                }
                in_turn(&key, &done, undoing.take(), &open)?;
                undoing = Some(key);
            }
            Step::Undone(key) => {
                done.retain(|other| *other != key);
                undoing.take_if(|other| *other == key);
            }
        }
    }
    Ok(done)
}

fn in_turn<K: Ord + Clone + Debug>(
    key: &K,
    done: &[K],
    undoing: Option<K>,
    open: &BTreeSet<K>,
) -> Result<(), Disorder<K>> {
    let undone = key.clone();
    if let Some(other) = undoing {
        return Err(Disorder::AtOnce { undone, other });
    }
    if let Some(open) = open.first().cloned() {
        return Err(Disorder::Open { undone, open });
    }
    match done.last() {
        _ if !done.contains(key) => Err(Disorder::NotDone { undone }),
        Some(later) if later != key => {
            let later = later.clone();
            Err(Disorder::TooEarly { undone, later })
        }
        _ => Ok(()),
    }
}
