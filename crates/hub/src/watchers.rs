//! Telling of every change, as server-sent events.
//!
//! An event is all instances of a service as they are now, so that a watcher that was away or slow needs no history. Its id
//! is a fingerprint of them: who comes with the id of what is so now is told nothing until it changes, also by a hub that
//! was restarted meanwhile.
//!
//! Between two events of a watch there is a pause, so that many changes at a time are told together: when all instances of
//! a service come back after an outage, each watcher is told a few times of all of them, and not each time of one more.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use discovery::{InProcess, Instance, Registry, registry::Instances};
use env::Instant;
use futures::stream;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{Error, Result};

/// The least time between two events of a watch. The first change after it is told at once.
const PACE: Duration = Duration::from_millis(100);
const COMMENT: Bytes = Bytes::from_static(b": here\n\n");

pub(crate) struct Watchers {
    registry: InProcess,
    limit: usize,
    /// After so long without a change, a comment says that the hub is there.
    keep_alive: Duration,
    places: Arc<Semaphore>,
    rendered: Arc<Rendered>,
    end: CancellationToken,
}

/// The last event of each service: written once, however many watch.
#[derive(Default)]
struct Rendered(Mutex<BTreeMap<String, Event>>);

#[derive(Clone)]
struct Event {
    of: Instances,
    id: String,
    bytes: Bytes,
}

struct Watcher {
    service: String,
    seen: watch::Receiver<Instances>,
    /// The id of the event that the watcher has.
    last: String,
    begun: bool,
    /// When the next event may be sent.
    due: Instant,
    keep_alive: Duration,
    rendered: Arc<Rendered>,
    end: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Watchers {
    pub(crate) fn new(registry: InProcess, limit: usize, keep_alive: Duration) -> Self {
        Self {
            registry,
            limit,
            keep_alive,
            places: Arc::new(Semaphore::new(limit)),
            rendered: Arc::default(),
            end: CancellationToken::new(),
        }
    }

    /// How often a watch says at least that the hub is there.
    pub(crate) fn keep_alive(&self) -> Duration {
        self.keep_alive
    }

    /// Ends every watch; the watchers come back when they find a hub.
    pub(crate) fn end(&self) {
        self.end.cancel();
    }

    /// The events of `service` after the one that is called `last`.
    pub(crate) fn watch(&self, service: &str, last: &str) -> Result<Body> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Error::TooManyWatchers { limit: self.limit })?;
        let watcher = Watcher {
            service: service.to_owned(),
            seen: self.registry.watch(service),
            last: last.to_owned(),
            begun: false,
            due: env::instant(),
            keep_alive: self.keep_alive,
            rendered: Arc::clone(&self.rendered),
            end: self.end.clone(),
            _place: place,
        };
        Ok(Body::from_stream(stream::unfold(
            watcher,
            async |mut watcher| {
                let bytes = watcher.next().await?;
                Some((Ok::<_, Infallible>(bytes), watcher))
            },
        )))
    }
}

impl Watcher {
    /// What is sent next; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.begun {
            self.begun = true;
            // At once, also where there is nothing new: it says that the watch stands.
            let news = self.news().unwrap_or(COMMENT);
            // Who comes when nobody is there yet hears of the first as soon as of what was so before.
            self.due = env::instant();
            return Some(news);
        }
        loop {
            tokio::select! {
                biased;
                () = self.end.cancelled() => return None,
                changed = self.seen.changed() => changed.ok()?,
                () = env::sleep(self.keep_alive) => return Some(COMMENT),
            }
            let due = env::sleep_until(self.due);
            self.end.run_until_cancelled(due).await?;
            if let Some(bytes) = self.news() {
                return Some(bytes);
            }
        }
    }

    /// The event of what is so now, if the watcher does not have it.
    fn news(&mut self) -> Option<Bytes> {
        let now = self.seen.borrow_and_update().clone();
        let event = self.rendered.of(&self.service, now);
        if event.id == self.last {
            return None;
        }
        self.last = event.id;
        self.due = env::instant() + PACE;
        Some(event.bytes)
    }
}

impl Rendered {
    fn of(&self, service: &str, instances: Instances) -> Event {
        let mut rendered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match rendered.get(service) {
            Some(event) if event.of.is_same(&instances) => event.clone(),
            _ => {
                let event = Event::new(instances);
                if event.of.is_empty() {
                    // Nobody need remember a service without instances.
                    rendered.remove(service);
                } else {
                    rendered.insert(service.to_owned(), event.clone());
                }
                event
            }
        }
    }
}

impl Event {
    fn new(instances: Instances) -> Self {
        let list: Vec<&Instance> = instances.iter().map(AsRef::as_ref).collect();
        // Strings, numbers and addresses: serializing them cannot fail.
        let json = serde_json::to_string(&list).unwrap_or_default();
        let digest = Sha256::digest(json.as_bytes());
        let id: String = digest[..12]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let bytes = format!("event: instances\nid: {id}\ndata: {json}\n\n").into();
        Self {
            of: instances,
            id,
            bytes,
        }
    }
}
