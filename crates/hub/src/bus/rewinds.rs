//! Groups that are being taken back: nobody of them is given anything, until whoever asked for it says how it goes on.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use env::{Instant, Timestamp};
use events::{Bus as _, EmbeddedBus};
use tokio::{sync::oneshot, task::JoinHandle};

use super::wire::{self, Begun};
use crate::{Error, Result};

/// How long whoever takes a group back may give no sign of life; then the group goes on where it was.
const LEASE: Duration = Duration::from_secs(15);
/// The most groups that are taken back at a time.
const LIMIT: usize = 16;

#[derive(Default)]
pub(super) struct Rewinds(Mutex<BTreeMap<String, Rewind>>);

struct Rewind {
    group: String,
    heard: Instant,
    /// Lets it go through; dropped, the group goes on where it was.
    go: oneshot::Sender<()>,
    task: JoinHandle<events::Result<()>>,
}

impl Rewinds {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Rewind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when the group is given nothing, and nothing that it was given is being handled.
    pub(super) async fn begin(
        &self,
        log: &EmbeddedBus,
        group: &str,
        since: Timestamp,
    ) -> Result<Begun> {
        let (is_quiet, quiet) = oneshot::channel();
        let (go, decided) = oneshot::channel();
        let (log, name) = (log.clone(), group.to_owned());
        let task = tokio::spawn(async move {
            let meanwhile = Box::pin(async move {
                // Fails where nobody waits any more; then nobody decides either.
                _ = is_quiet.send(());
                decided.await.map_err(|gone| events::Error::Unavailable {
                    source: gone.into(),
                })
            });
            log.rewind(&name, since, meanwhile).await
        });
        if quiet.await.is_err() {
            // It has ended before, and says why.
            ended(task).await?;
            return Err(Error::PullEnded);
        }
        let id = env::id().to_string();
        let mut rewinds = self.lock();
        if rewinds.len() >= LIMIT {
            return Err(Error::TooManyRewinds { limit: LIMIT });
        }
        let rewind = Rewind {
            group: group.to_owned(),
            heard: env::instant(),
            go,
            task,
        };
        rewinds.insert(id.clone(), rewind);
        Ok(Begun {
            rewind: id,
            lease_ms: wire::millis(LEASE),
        })
    }

    pub(super) fn heartbeat(&self, group: &str, id: &str) -> Result<()> {
        match self.lock().get_mut(id) {
            Some(rewind) if rewind.group == group => {
                rewind.heard = env::instant();
                Ok(())
            }
            _ => Err(unknown(group, id)),
        }
    }

    /// Delivers once more what was asked for.
    pub(super) async fn finish(&self, group: &str, id: &str) -> Result<()> {
        let rewind = self.take(group, id).ok_or_else(|| unknown(group, id))?;
        if rewind.go.send(()).is_err() {
            return Err(unknown(group, id));
        }
        ended(rewind.task).await
    }

    /// Has the group go on where it was. One that is not there is well.
    pub(super) async fn abandon(&self, group: &str, id: &str) {
        if let Some(rewind) = self.take(group, id) {
            drop(rewind.go);
            _ = ended(rewind.task).await;
        }
    }

    fn take(&self, group: &str, id: &str) -> Option<Rewind> {
        let mut rewinds = self.lock();
        let is_of_group = rewinds.get(id).is_some_and(|it| it.group == group);
        is_of_group.then(|| rewinds.remove(id)).flatten()
    }

    /// Ends those of whom nothing is heard.
    pub(super) fn sweep(&self) {
        let now = env::instant();
        self.lock()
            .retain(|_, rewind| now.saturating_duration_since(rewind.heard) <= LEASE);
    }
}

async fn ended(task: JoinHandle<events::Result<()>>) -> Result<()> {
    match task.await {
        Ok(ended) => Ok(ended?),
        // The runtime is going down.
        Err(_) => Err(Error::PullEnded),
    }
}

fn unknown(group: &str, rewind: &str) -> Error {
    Error::UnknownRewind {
        group: group.to_owned(),
        rewind: rewind.to_owned(),
    }
}
