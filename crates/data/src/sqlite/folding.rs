//! Folding the log into the file ("checkpointing"), by the writer's own connection, when it is idle.
//!
//! SQLite would do so amid a commit, about every thousand pages, and that commit would wait for two
//! more syncs. Here a commit never folds. When enough is in the log, a task waits until nobody
//! writes for [`IDLE`]; if somebody always does, it queues for the session like a transaction once
//! there is too much. So a transaction waits for a fold now and then, and the log does not grow
//! without bound. A reader that keeps an old state holds a fold up, but our queries end within a
//! poll.
//!
//! Only the session folds, so no fold races with a write of ours: that race was a fault of SQLite.
//!
//! No thread and no clock but `env`'s: a simulated run folds at the same instants.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::Notify;

use super::writer::{Giver, Writer};

/// Pages in the log from which on it is folded when nobody writes: 1 MiB.
const ENOUGH: u32 = 256;

/// Pages in the log from which on it is folded even though somebody writes: 4 MiB.
/// The transaction whose turn is next waits for that fold, so it is not more.
const TOO_MUCH: u32 = 1024;

/// The log file is cut to this many bytes when it begins anew: one large transaction does not keep
/// the disk's room for ever.
pub(super) const KEPT_BYTES: u32 = 8 * 1024 * 1024;

/// Nobody writes when no group closed for so long.
const IDLE: Duration = Duration::from_millis(20);

/// How long after a fold that failed the next one is tried.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How far the log has grown, as the writer's desk knows it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Growth {
    /// Pages that are not in the file yet.
    pub(super) pages: u32,
    /// Groups that have closed, ever.
    pub(super) groups: u64,
}

impl Growth {
    pub(super) fn is_enough(self) -> bool {
        self.pages >= ENOUGH
    }

    pub(super) fn is_too_much(self) -> bool {
        self.pages >= TOO_MUCH
    }
}

/// Says when it ends, also when it is dropped with its runtime.
struct Task(Weak<Writer>);

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(writer) = self.0.upgrade() {
            writer.fold_ended();
        }
    }
}

/// Folds on the runtime of the caller, until there is little in the log; without waiting for a pause
/// once `urged`. False when the caller has no runtime.
pub(super) fn begin(writer: &Weak<Writer>, urged: Arc<Notify>) -> bool {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return false;
    };
    let task = Task(Weak::clone(writer));
    runtime.spawn(async move {
        let mut pause = IDLE;
        let mut seen = None;
        loop {
            if pause == IDLE {
                let _ = env::timeout(pause, urged.notified()).await;
            } else {
                env::sleep(pause).await;
            }
            let Some(writer) = task.0.upgrade() else {
                return;
            };
            let growth = writer.growth();
            let is_idle = seen.replace(growth.groups) == Some(growth.groups);
            if !is_idle && !growth.is_too_much() && pause == IDLE {
                continue;
            }
            pause = match fold(&writer).await {
                Ok(()) if !writer.growth().is_enough() => return,
                Ok(()) => IDLE,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "the log could not be folded into the database");
                    AFTER_FAILURE
                }
            };
        }
    });
    true
}

async fn fold(writer: &Arc<Writer>) -> crate::Result<()> {
    let mut session = writer.acquire_always().await?;
    let outcome = session.fold();
    writer.release(session, Giver::Leaves);
    outcome
}
