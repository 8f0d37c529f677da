//! At most once: no effect of a message happened twice.

use std::{collections::BTreeSet, fmt::Debug};

/// An effect that happened more than once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{effect:?} happened again, as number {place} of all effects")]
pub struct Repeated<E: Debug> {
    /// What happened again: whatever tells effects apart, such as a group and the id of a message.
    pub effect: E,
    /// The place of the second time, counted from 0.
    pub place: usize,
}

/// Whether each of `effects` happened once.
///
/// # Errors
/// The first one that happened again.
pub fn at_most_once<E: Ord + Clone + Debug>(
    effects: impl IntoIterator<Item = E>,
) -> Result<(), Repeated<E>> {
    let mut happened = BTreeSet::new();
    for (place, effect) in effects.into_iter().enumerate() {
        if !happened.insert(effect.clone()) {
            return Err(Repeated { effect, place });
        }
    }
    Ok(())
}
