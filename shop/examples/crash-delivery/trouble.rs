//! Events that cannot be handled at first, so that what waits for another attempt is killed too.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// After so many attempts an event is a dead letter here.
pub(crate) const MAX_DELIVERIES: u32 = 3;
/// One count of so many fails until it is a dead letter and was replayed.
const DIES: i64 = 29;
/// One count of so many fails once.
const STUMBLES: i64 = 11;

/// What this process has tried: which attempts fail is told by the event, and not by chance.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<BTreeMap<(String, i64), u32>>);

impl Trouble {
    /// Whether this attempt at the event fails.
    pub(crate) fn strikes(&self, key: &str, count: i64) -> bool {
        let failures = match count {
            count if count % DIES == 0 => MAX_DELIVERIES,
            count if count % STUMBLES == 0 => 1,
            _ => return false,
        };
        let mut tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = tried.entry((key.to_owned(), count)).or_default();
        *tries += 1;
        *tries <= failures
    }
}
