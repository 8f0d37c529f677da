//! Waking those who wait for a commit, in this process and in others.
//!
//! In this process at once. For the others one `NOTIFY` goes out a moment after the commit, for
//! all channels and all commits of that moment, on the connection that listens: inside each
//! transaction it would take a lock that all commits of the server share.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinHandle};

use super::{
    connection::{Connection, Place},
    target::Target,
};
use crate::{Changes, Result, Value, changes::Channels};

/// How long commits are gathered before the others are told.
const GATHER: Duration = Duration::from_millis(10);

/// How often a waiter looks unasked; see [`Changes::wait`].
const POLL: Duration = Duration::from_secs(1);

/// After how much silence the connection that listens is asked whether it is alive.
const SILENCE: Duration = Duration::from_secs(10);

/// Pauses between tries to reach a server that does not answer: doubled from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

#[derive(Default)]
pub(super) struct Notifier {
    channels: Channels,
    /// What the others are still to be told.
    pending: Mutex<BTreeSet<&'static str>>,
    more: Notify,
}

impl Notifier {
    pub(super) fn listen(&self, channel: &'static str) -> Changes {
        self.channels.listen(channel, Some(POLL))
    }

    /// What was committed concerns these channels.
    pub(super) fn tell(&self, notified: BTreeSet<&'static str>) {
        if notified.is_empty() {
            return;
        }
        for channel in &notified {
            self.channels.wake(channel);
        }
        self.pending().extend(notified);
        self.more.notify_one();
    }

    /// Hears and tells until it is aborted, through as many connections as it takes.
    pub(super) fn run(self: &Arc<Self>, target: Arc<Target>) -> JoinHandle<()> {
        let notifier = Arc::clone(self);
        let own = env::id().to_string();
        tokio::spawn(async move {
            let mut pause = PAUSES.0;
            loop {
                match notifier.connected(&target).await {
                    Ok(mut connection) => {
                        pause = PAUSES.0;
                        if let Err(error) = notifier.serve(&mut connection, &own).await {
                            tracing::debug!(%error, "the connection that listens is lost");
                        }
                    }
                    Err(error) => tracing::debug!(%error, "cannot listen to the database"),
                }
                let millis = pause.as_millis() as u64;
                env::sleep(pause / 2 + Duration::from_millis(env::random().below(millis))).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        })
    }

    async fn connected(&self, target: &Arc<Target>) -> Result<Connection> {
        let mut connection = Connection::open(target).await?;
        connection.batch("LISTEN outrigger").await?;
        // Nobody knows what was said meanwhile.
        self.channels.wake_all();
        Ok(connection)
    }

    /// Returns when the connection is lost.
    async fn serve(&self, connection: &mut Connection, own: &str) -> Result<()> {
        loop {
            let heard = tokio::select! {
                heard = connection.notified() => Some(heard),
                () = self.more.notified() => None,
                () = env::sleep(SILENCE) => {
                    if !connection.answers().await {
                        return Ok(());
                    }
                    continue;
                }
            };
            match heard {
                Some(Some(payload)) => self.hear(&payload, own),
                Some(None) => return Ok(()),
                None => {
                    env::sleep(GATHER).await;
                    self.pass_on(connection, own).await?;
                }
            }
        }
    }

    /// The payload is who tells, and the channels, with spaces between them.
    fn hear(&self, payload: &str, own: &str) {
        let mut words = payload.split(' ');
        if words.next() == Some(own) {
            return;
        }
        for channel in words {
            self.channels.wake_named(channel);
        }
    }

    async fn pass_on(&self, connection: &mut Connection, own: &str) -> Result<()> {
        let channels = mem::take(&mut *self.pending());
        if channels.is_empty() {
            return Ok(());
        }
        let mut payload = own.to_owned();
        for channel in &channels {
            payload.push(' ');
            payload.push_str(channel);
        }
        let sql = "SELECT pg_notify('outrigger', $1)";
        let told = connection
            .query(sql, &[Value::Text(payload)], Place::Within)
            .await;
        if let Err(error) = told {
            self.pending().extend(channels);
            self.more.notify_one();
            return Err(error);
        }
        Ok(())
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, BTreeSet<&'static str>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
