//! What this process knows of the bucket, and how it follows it.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::kv::{Entry, Operation};
use env::chain;
use futures::StreamExt;
use resilience::retry::Backoff;
use tokio::sync::watch;

use super::{
    away,
    bucket::{self, Bucket},
};
use crate::{
    Instance, Result,
    balance::chance,
    registry::{InProcess, Instances, Registry, Ttl},
};

/// How long it takes at most until another connection is noticed.
const LOOK: Duration = Duration::from_secs(1);
/// How long to wait before a bucket that cannot be followed is tried again.
const AGAIN: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(5),
};

/// What is known. Cheap to clone; a clone is the same mirror.
#[derive(Clone)]
pub(super) struct Mirror {
    known: InProcess,
    /// How often it is looked for silent instances, and whether the connection is another.
    look: Duration,
    /// The last revision that was seen; `None` until all that there is was.
    seen: watch::Sender<Option<u64>>,
}

impl Mirror {
    pub(super) fn new(ttl: Ttl) -> Self {
        Self {
            known: InProcess::new(ttl),
            look: ttl.sweep.min(LOOK),
            seen: watch::Sender::default(),
        }
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.known.find(id).is_some()
    }

    /// Waits until the whole is known, and `is_so` of the last revision.
    pub(super) async fn until(&self, is_so: impl Fn(u64) -> bool) {
        let mut seen = self.seen.subscribe();
        // The sender is ours.
        _ = seen.wait_for(|seen| seen.is_some_and(&is_so)).await;
    }

    pub(super) async fn services(&self) -> Result<Vec<String>> {
        self.until(|_| true).await;
        self.known.services().await
    }

    pub(super) fn watch(&self, service: &str) -> watch::Receiver<Instances> {
        if self.seen.borrow().is_some() {
            return self.known.watch(service);
        }
        let (told, watching) = watch::channel(Instances::default());
        let (mirror, service) = (self.clone(), service.to_owned());
        tokio::spawn(async move {
            let forwarding = async {
                mirror.until(|_| true).await;
                let mut known = mirror.known.watch(&service);
                loop {
                    told.send_replace(known.borrow_and_update().clone());
                    if known.changed().await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = told.closed() => {}
                () = forwarding => {}
            }
        });
        watching
    }

    /// Follows the bucket for ever.
    pub(super) async fn follow(self, bucket: Arc<Bucket>) {
        let mut failures = 0;
        loop {
            let begun = env::instant();
            if let Err(error) = self.try_follow(&bucket).await {
                if failures == 0 {
                    let error = chain(&error);
                    tracing::warn!(
                        error,
                        "NATS is away; what is known of its instances stays in use"
                    );
                }
                failures = if begun.elapsed() > AGAIN.cap {
                    1
                } else {
                    failures + 1
                };
                env::sleep(AGAIN.wait(failures, chance())).await;
            }
        }
    }

    /// Follows until the connection is another one, on which all is read anew.
    async fn try_follow(&self, bucket: &Bucket) -> Result<()> {
        let store = bucket.store().await?;
        let connects = bucket.connects();
        let mut changes = store.watch_with_history(">").await.map_err(away)?;
        let state = store.stream.get_info().await.map_err(away)?.state;
        self.excuse_all().await;
        if state.messages == 0 {
            self.saw(state.last_sequence, true);
        }
        let mut look_at = env::instant() + self.look;
        loop {
            tokio::select! {
                biased;
                () = env::sleep_until(look_at) => {
                    look_at = env::instant() + self.look;
                    if bucket.connects() != connects {
                        return Ok(());
                    }
                    if bucket.is_connected() {
                        self.sweep();
                    }
                }
                change = changes.next() => match change {
                    Some(change) => self.take(change.map_err(away)?).await,
                    None => return Err(away("the watch has ended")),
                },
            }
        }
    }

    async fn take(&self, entry: Entry) {
        let id = bucket::id(&entry.key);
        let outcome = match entry.operation {
            Operation::Put => self.put(&id, &entry.value).await,
            Operation::Delete | Operation::Purge => self.known.deregister(&id).await,
        };
        if let Err(error) = outcome {
            tracing::warn!(
                error = chain(&error),
                id,
                "what the registry holds is no instance"
            );
        }
        self.saw(entry.revision, entry.delta == 0);
    }

    async fn put(&self, id: &str, json: &[u8]) -> Result<()> {
        let instance: Instance = serde_json::from_slice(json).map_err(away)?;
        if instance.id != id {
            return Err(away(format!("it calls itself {}", instance.id)));
        }
        match self.known.find(id) {
            Some(known) if *known == instance => {
                self.known.heartbeat(id).await?;
                return Ok(());
            }
            // It left and came back as one of another service.
            Some(known) if known.service != instance.service => self.known.deregister(id).await?,
            _ => {}
        }
        self.known.register(instance).await
    }

    /// Notes the revision; and that the whole is known, if that is so.
    fn saw(&self, revision: u64, is_all: bool) {
        self.seen.send_if_modified(|seen| {
            if seen.is_none() && !is_all {
                return false;
            }
            *seen = Some(revision);
            true
        });
    }

    /// Nobody is to blame for what could not be heard.
    async fn excuse_all(&self) {
        for known in self.known.list(None, "", usize::MAX) {
            _ = self.known.heartbeat(&known.instance.id).await;
        }
    }

    /// Takes silent instances out: the bucket lets go of them without a word.
    fn sweep(&self) {
        for silent in self.known.silent() {
            if self.known.expel(&silent.id) {
                let (service, id) = (&silent.service, &silent.id);
                tracing::warn!(service, id, "an instance was silent for too long");
            }
        }
    }
}
