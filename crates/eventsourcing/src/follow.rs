//! Waiting for events.

use std::time::Duration;

use data::{Changes, Database, Engine};

use crate::store::CHANNEL;

/// How often the store is looked at without being woken, in case another process appends.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The first pause where what woke us may not be shown yet; each that brings nothing is followed by one twice as long.
const LOOK_SOON: Duration = Duration::from_millis(2);

/// Wakes who follows the store.
///
/// On SQLite what has committed can be read, so a commit and a rare look are enough. On PostgreSQL the commit that wakes
/// us may be held back by another transaction, whose end wakes nobody.
#[derive(Debug)]
pub(crate) struct Follow {
    changes: Changes,
    soon: Duration,
    pause: Duration,
}

impl Follow {
    /// What commits from now on is not missed.
    pub(crate) fn new(db: &Database) -> Self {
        let soon = match db.engine() {
            Engine::Sqlite => LOOK_AGAIN,
            _ => LOOK_SOON,
        };
        Self {
            changes: db.changes(CHANNEL),
            soon,
            pause: soon,
        }
    }

    /// Events came: there may be more soon.
    pub(crate) fn came(&mut self) {
        self.pause = self.soon;
    }

    /// Returns when it is worth a look. It may be cancelled.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            biased;
            _ = self.changes.wait() => self.pause = self.soon,
            () = env::sleep(self.pause) => self.pause = (self.pause * 2).min(LOOK_AGAIN),
        }
    }
}
