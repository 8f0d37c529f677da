//! Being woken by a commit, so that nobody has to poll a table.
//!
//! A channel is a name. [`Transaction::notify`](crate::Transaction::notify) names it in a
//! transaction; when that is durable, every [`Changes`] of the channel is woken. What is rolled
//! back wakes nobody. (PostgreSQL has the same: `LISTEN` and `NOTIFY`.)

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

/// A place on a channel: what was committed since then is not missed.
///
/// ```no_run
/// # use outrigger_data as data;
/// # async fn example(db: data::Database) -> data::Result<()> {
/// let mut changes = db.outbox_changed();
/// loop {
///     while !db.outbox_batch(100).await?.is_empty() { /* send and delete */ }
///     changes.wait().await; // returns at once when a commit came in meanwhile
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Changes {
    seen: watch::Receiver<()>,
}

impl Changes {
    /// Waits for a commit on the channel since this was made or last waited. Several commits may be
    /// one waking.
    ///
    /// It may be cancelled without missing anything. When the database has been dropped it never
    /// returns.
    pub async fn wait(&mut self) {
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// All channels of a database.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    senders: Mutex<BTreeMap<&'static str, watch::Sender<()>>>,
}

impl Channels {
    pub(crate) fn listen(&self, channel: &'static str) -> Changes {
        let seen = self.with(channel, watch::Sender::subscribe);
        Changes { seen }
    }

    pub(crate) fn wake(&self, channel: &'static str) {
        self.with(channel, |sender| sender.send_replace(()));
    }

    fn with<T>(&self, channel: &'static str, act: impl FnOnce(&watch::Sender<()>) -> T) -> T {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        act(senders.entry(channel).or_default())
    }
}
