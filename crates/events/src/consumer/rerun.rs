//! Whether and when a transaction of a consumer runs again at once, before anything is decided about the event.

use std::{error::Error as StdError, time::Duration};

use data::{Database, Turn};

use crate::{
    Backoff,
    error::{is_conflict, is_outage},
};

/// How often it runs again after it met another transaction. More often than that it hardly meets one, when it is its
/// turn.
const CONFLICTS: u32 = 8;
const PAUSE: Backoff = Backoff {
    base: Duration::from_millis(5),
    limit: Duration::from_millis(100),
};

/// The runs of one transaction.
pub(super) struct Reruns {
    turn: Turn,
    conflicts: u32,
    outages: u32,
    /// How often it runs again after the database could not work.
    patience: u32,
}

impl Reruns {
    /// Of a transaction that has not run yet.
    pub(super) fn of(db: &Database, patience: u32) -> Self {
        Self {
            turn: db.turn(),
            conflicts: 0,
            outages: 0,
            patience,
        }
    }

    /// Waits until it may run. Its turn lasts until it [steps aside](Self::step_aside) or is not to run again.
    pub(super) async fn turn(&mut self) {
        if self.conflicts == 0 {
            return self.turn.first().await;
        }
        self.turn.again().await;
        if self.conflicts > 1 {
            // It met one that came new: now those wait too.
            self.turn.again().await;
        }
    }

    /// Before something that may take long, or waits for a transaction of its own: somebody else's turn.
    pub(super) fn step_aside(&mut self) {
        self.turn.pass();
    }

    /// Whether it is to run again after `error`; waits where it is not another transaction that was in its way.
    pub(super) fn after<'s>(
        &'s mut self,
        error: &(dyn StdError + 'static),
    ) -> impl Future<Output = bool> + use<'s> {
        // Judged here: a `dyn Error` must not live on across an await.
        let (conflict, outage) = (is_conflict(error), is_outage(error));
        async move {
            if conflict && self.conflicts < CONFLICTS {
                self.conflicts += 1;
                return true;
            }
            self.turn.pass();
            if outage && self.outages < self.patience {
                self.outages += 1;
                env::sleep(PAUSE.delay(self.outages)).await;
                return true;
            }
            false
        }
    }
}
