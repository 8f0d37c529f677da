//! Order by key: what was handled was handled in the order in which it was published (G4).

use std::{collections::BTreeMap, fmt::Debug};

/// Something that was handled after what was published later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disorder<K: Debug, M: Debug> {
    /// It was published before what had been handled.
    #[error(
        "{message:?} of the key {key:?} was handled after {before:?}, which was published later"
    )]
    Late {
        /// The key of both.
        key: K,
        /// What came late.
        message: M,
        /// What had been handled by then.
        before: M,
    },
    /// Nobody published it.
    #[error("{message:?} of the key {key:?} was handled and never published")]
    Unknown {
        /// Its key.
        key: K,
        /// What it is.
        message: M,
    },
}

/// Whether what was `handled` was handled in the order in which it was `published`, key by key. What was not handled
/// yet may be missing, at the end or in between; what is handled again counts the first time.
///
/// # Errors
/// The first message out of order.
pub fn by_key<K: Ord + Clone + Debug, M: Ord + Clone + Debug>(
    published: impl IntoIterator<Item = (K, M)>,
    handled: impl IntoIterator<Item = (K, M)>,
) -> Result<(), Disorder<K, M>> {
    let mut places: BTreeMap<(K, M), usize> = BTreeMap::new();
    for (place, message) in published.into_iter().enumerate() {
        places.entry(message).or_insert(place);
    }
    let mut last: BTreeMap<K, (usize, M)> = BTreeMap::new();
    for (key, message) in handled {
        let named = (key, message);
        let Some(place) = places.get(&named).copied() else {
            let (key, message) = named;
            return Err(Disorder::Unknown { key, message });
        };
        let (key, message) = named;
        match last.get(&key) {
            Some((before, _)) if *before == place => {}
            Some((before, earlier)) if *before > place => {
                let before = earlier.clone();
                return Err(Disorder::Late {
                    key,
                    message,
                    before,
                });
            }
            _ => {
                last.insert(key, (place, message));
            }
        }
    }
    Ok(())
}
