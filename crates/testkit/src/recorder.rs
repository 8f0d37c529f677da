//! A bus that remembers what was published.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use env::Timestamp;
use events::{Bus, CloudEvent, Result, Subscription};
use futures::future::BoxFuture;

/// Wraps a bus and keeps every event that it took, once, in the order in which it took them. It is for tests: what
/// is kept is kept for ever. Clones are handles of one memory.
#[derive(Clone)]
pub struct Recorder {
    bus: Arc<dyn Bus>,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    ids: BTreeSet<String>,
    events: Vec<CloudEvent>,
}

impl Recorder {
    /// Records what is published on `bus`.
    pub fn new(bus: Arc<dyn Bus>) -> Self {
        let taken = Arc::default();
        Self { bus, taken }
    }

    /// The events of the type `kind`, or of every type that begins with what stands before `.*`.
    pub fn events(&self, kind: &str) -> Vec<CloudEvent> {
        let wanted = |event: &&CloudEvent| match kind.strip_suffix('*') {
            Some(prefix) => event.kind.starts_with(prefix),
            None => event.kind == kind,
        };
        self.taken().events.iter().filter(wanted).cloned().collect()
    }

    /// How many events of each type were published.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for event in &self.taken().events {
            *counts.entry(event.kind.clone()).or_insert(0) += 1;
        }
        counts
    }

    /// The events that say what another one had said because of the same message, in every attribute but their id,
    /// time and trace: that message took effect more than once (G3).
    pub fn repeated(&self) -> Vec<CloudEvent> {
        let mut said = BTreeSet::new();
        let caused = |event: &&CloudEvent| event.causationid.is_some();
        let again = |event: &&CloudEvent| !said.insert(what_is_said(event));
        let taken = self.taken();
        taken
            .events
            .iter()
            .filter(caused)
            .filter(again)
            .cloned()
            .collect()
    }

    async fn publish_and_record(&self, batch: Vec<CloudEvent>) -> Result<()> {
        self.bus.publish(batch.clone()).await?;
        let mut taken = self.taken();
        for event in batch {
            if taken.ids.insert(event.id.clone()) {
                taken.events.push(event);
            }
        }
        Ok(())
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn what_is_said(event: &CloudEvent) -> String {
    let (kind, source, key) = (&event.kind, &event.source, &event.partitionkey);
    let (cause, data, extensions) = (&event.causationid, &event.data, &event.extensions);
    format!(
        "{:?}",
        (kind, source, key, cause, data.to_string(), extensions)
    )
}

impl Bus for Recorder {
    fn publish(&self, batch: Vec<CloudEvent>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.publish_and_record(batch))
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        types: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>>> {
        self.bus.subscribe(group, types)
    }

    fn leave_out<'a>(&'a self, group: &'a str, types: &'a [String]) -> BoxFuture<'a, Result<()>> {
        self.bus.leave_out(group, types)
    }

    fn rewind<'a>(
        &'a self,
        group: &'a str,
        since: Timestamp,
        meanwhile: BoxFuture<'a, Result<()>>,
    ) -> BoxFuture<'a, Result<()>> {
        self.bus.rewind(group, since, meanwhile)
    }

    fn retention(&self) -> BoxFuture<'_, Result<Duration>> {
        self.bus.retention()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.bus.close()
    }
}
