//! The stages in which what runs comes to its end.

use std::time::Duration;

use env::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::Platform;

/// The share of the time to stop that is kept for what must be sent at the end.
const FOR_FLUSHING: u32 = 4;

/// How long stopping takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    /// How long it goes on serving after it has left, for those who do not know that yet.
    linger: Duration,
    /// The most for all of it together.
    limit: Duration,
}

impl Stopping {
    pub(super) fn on(platform: &Platform) -> Self {
        let settings = &platform.settings().lifecycle;
        Self {
            linger: settings.linger.max(platform.registry().spread()),
            limit: settings.drain,
        }
    }
}

/// The tasks of a running part, in the order in which they end.
#[derive(Default, Clone)]
pub(super) struct Life {
    pub(super) leaving: CancellationToken,
    pub(super) registered: TaskTracker,
    pub(super) closing: CancellationToken,
    pub(super) draining: CancellationToken,
    pub(super) serving: TaskTracker,
    pub(super) handling: TaskTracker,
    pub(super) flushing: CancellationToken,
    pub(super) relaying: TaskTracker,
}

impl Life {
    /// Ends the tasks stage by stage.
    pub(super) async fn end(&self, Stopping { linger, limit }: Stopping) {
        let end = env::instant() + limit;
        let flush = end.checked_sub(limit / FOR_FLUSHING).unwrap_or(end);
        self.leaving.cancel();
        finish(&self.registered, flush).await;
        self.closing.cancel();
        env::sleep_until(flush.min(env::instant() + linger)).await;
        self.draining.cancel();
        finish(&self.serving, flush).await;
        finish(&self.handling, flush).await;
        self.flushing.cancel();
        finish(&self.relaying, end).await;
    }
}

async fn finish(tasks: &TaskTracker, until: Instant) {
    tasks.close();
    if env::timeout(
        until.saturating_duration_since(env::instant()),
        tasks.wait(),
    )
    .await
    .is_err()
    {
        tracing::warn!(
            unfinished = tasks.len(),
            "gave up waiting for tasks to finish"
        );
    }
}
