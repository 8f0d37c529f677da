//! The stages in which what runs comes to its end.

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The tasks of a running part, in the order in which they end.
#[derive(Default, Clone)]
pub(super) struct Life {
    pub(super) leaving: CancellationToken,
    pub(super) registered: TaskTracker,
    pub(super) draining: CancellationToken,
    pub(super) serving: TaskTracker,
    pub(super) handling: TaskTracker,
    pub(super) flushing: CancellationToken,
    pub(super) relaying: TaskTracker,
}

impl Life {
    /// Ends the tasks stage by stage; each stage for at most `limit`.
    pub(super) async fn end(&self, limit: Duration) {
        self.leaving.cancel();
        finish(&self.registered, limit).await;
        self.draining.cancel();
        finish(&self.serving, limit).await;
        finish(&self.handling, limit).await;
        self.flushing.cancel();
        finish(&self.relaying, limit).await;
    }
}

async fn finish(tasks: &TaskTracker, limit: Duration) {
    tasks.close();
    if env::timeout(limit, tasks.wait()).await.is_err() {
        tracing::warn!(
            ?limit,
            unfinished = tasks.len(),
            "gave up waiting for tasks to finish"
        );
    }
}
