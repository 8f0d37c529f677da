//! Transactions that met another one run again one after the other.
//!
//! Of many transactions that change one row, the engine lets one through and refuses the others. If all of them ran
//! again at once, they would meet again, and most of the work would be undone each time. So each waits for its turn
//! first. Then it can only meet those that come new; and should it meet one of these too, those that come after that
//! wait in the same line. Nobody waits for a transaction that already runs, however slow it is, and while nobody
//! meets anybody, nobody waits at all.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Database;

/// Where a transaction stands in the line of those of its process that run again on one database.
///
/// For a library that runs transactions again by itself; [`Database::transaction`] does all of this. What is waited
/// for here is waited for before the transaction begins: or who holds a connection would wait for one who waits for a
/// connection.
pub struct Turn {
    line: Line,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Database {
    /// The place of a transaction that has not run yet.
    pub fn turn(&self) -> Turn {
        Turn {
            line: self.line().clone(),
            turn: None,
        }
    }
}

impl Turn {
    /// Before the first run.
    pub async fn first(&mut self) {
        if self.line.closed.load(Ordering::Acquire) {
            self.turn = Some(self.line.stand().await);
        }
    }

    /// Before another run, after an [`Error::is_conflict`](crate::Error::is_conflict).
    pub async fn again(&mut self) {
        match self.turn {
            // It met one that came new.
            Some(_) => self.line.closed.store(true, Ordering::Release),
            None => self.turn = Some(self.line.stand().await),
        }
    }

    /// Before a pause: somebody else's turn.
    pub fn pass(&mut self) {
        if self.turn.is_some() {
            self.line.closed.store(false, Ordering::Release);
            self.turn = None;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pass();
    }
}

/// Those of one database.
#[derive(Clone, Default)]
pub(crate) struct Line {
    line: Arc<Mutex<()>>,
    /// Who comes new has to stand in it too.
    closed: Arc<AtomicBool>,
}

impl Line {
    async fn stand(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.line).lock_owned().await
    }
}
