//! Being woken by a commit, so that nobody has to poll a table.
//!
//! A channel is a name. [`Transaction::notify`](crate::Transaction::notify) names it in a
//! transaction; when that is durable, every [`Changes`] of the channel is woken. What is rolled
//! back wakes nobody. (PostgreSQL has the same: `LISTEN` and `NOTIFY`.)

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

/// A place on a channel: what was committed since then is not missed.
///
/// ```no_run
/// # use outrigger_data as data;
/// # async fn example(db: data::Database) -> data::Result<()> {
/// let mut changes = db.outbox_changed();
/// loop {
///     while !db.outbox_waiting(100).await?.is_empty() { /* claim, send, settle */ }
///     changes.wait().await; // returns at once when a commit came in meanwhile
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Changes {
    /// How often others have woken.
    seen: watch::Receiver<u64>,
    others: u64,
    /// After which the waiter looks unasked, because a wake from another process may be lost.
    poll: Option<Duration>,
}

/// What a wait on a channel has ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// This process committed, and no other that is known of.
    Here,
    /// Another process committed, or may have while nobody was listening.
    Elsewhere,
    /// Nobody: it is time to look unasked.
    Unasked,
}

impl Changes {
    /// Waits for a commit on the channel since this was made or last waited. Several commits may be
    /// one waking.
    ///
    /// On PostgreSQL it also returns after a second in which nothing was heard: other processes
    /// wake by `NOTIFY`, which may be lost with a connection, so whoever waits looks again.
    ///
    /// It may be cancelled without missing anything. When the database has been dropped it never
    /// returns.
    pub async fn wait(&mut self) -> Woken {
        let changed = async {
            if self.seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        match self.poll {
            None => changed.await,
            Some(poll) => {
                if env::timeout(poll, changed).await.is_err() {
                    return Woken::Unasked;
                }
            }
        }
        let others = *self.seen.borrow();
        match std::mem::replace(&mut self.others, others) == others {
            true => Woken::Here,
            false => Woken::Elsewhere,
        }
    }
}

/// All channels of a database.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    senders: Mutex<BTreeMap<&'static str, watch::Sender<u64>>>,
}

impl Channels {
    pub(crate) fn listen(&self, channel: &'static str, poll: Option<Duration>) -> Changes {
        let seen = self.with(channel, watch::Sender::subscribe);
        let others = *seen.borrow();
        Changes { seen, others, poll }
    }

    /// Another process has: wakes those who listen to a channel of this name, if there are any.
    pub(crate) fn wake_named(&self, channel: &str) {
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = senders.get(channel) {
            sender.send_modify(|others| *others += 1);
        }
    }

    /// Wakes everybody: nobody knows what was missed.
    pub(crate) fn wake_all(&self) {
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in senders.values() {
            sender.send_modify(|others| *others += 1);
        }
    }

    pub(crate) fn wake(&self, channel: &'static str) {
        self.with(channel, |sender| sender.send_modify(|_| {}));
    }

    fn with<T>(&self, channel: &'static str, act: impl FnOnce(&watch::Sender<u64>) -> T) -> T {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        act(senders.entry(channel).or_default())
    }
}
