//! The bus as a process of its own: it dies, whoever waits for it hears so, and it is started again from its disk.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use env::Timestamp;
use events::{Bus, CloudEvent, Delivery, Error, Result, Subscription};
use futures::future::BoxFuture;
use tokio::sync::watch;

/// Clones are handles of one bus.
#[derive(Clone)]
pub(super) struct Broker {
    wanted: Arc<watch::Sender<bool>>,
    running: Arc<watch::Sender<Option<Running>>>,
}

#[derive(Clone)]
struct Running {
    /// How often it was started before.
    number: u64,
    bus: Arc<dyn Bus>,
}

impl Broker {
    /// A bus that is to run, and is not started yet.
    pub(super) fn new() -> Self {
        Self {
            wanted: Arc::new(watch::Sender::new(true)),
            running: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Ends the process; whoever is in the middle of a call gets an error.
    pub(super) fn kill(&self) {
        self.wanted.send_replace(false);
        self.running.send_replace(None);
    }

    /// It may be started again.
    pub(super) fn revive(&self) {
        self.wanted.send_replace(true);
    }

    /// Starts it by `open`, and again after each death.
    pub(super) async fn keep<B: Bus>(&self, open: impl AsyncFn() -> Result<B>) {
        for number in 0.. {
            self.wait_until(true).await;
            match open().await {
                Ok(bus) => {
                    let bus = Arc::new(bus);
                    self.running.send_replace(Some(Running { number, bus }));
                    self.wait_until(false).await;
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "the bus cannot start yet");
                    env::sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }

    async fn wait_until(&self, wanted: bool) {
        // The sender is ours, so it is not gone.
        let _ = self.wanted.subscribe().wait_for(|is| *is == wanted).await;
    }

    /// Does `work` with the bus that runs, for as long as it does.
    async fn with<'a, T: 'a>(
        &'a self,
        work: impl FnOnce(Running) -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let mut changes = self.running.subscribe();
        let running = changes.borrow_and_update().clone().ok_or_else(gone)?;
        tokio::select! {
            biased;
            _ = changes.changed() => Err(gone()),
            done = work(running) => done,
        }
    }
}

fn gone() -> Error {
    Error::Unavailable {
        source: "its process died (simulated)".into(),
    }
}

impl Bus for Broker {
    fn publish(&self, batch: Vec<CloudEvent>) -> BoxFuture<'_, Result<()>> {
        let publish = |running: Running| -> BoxFuture<'_, _> {
            Box::pin(async move { running.bus.publish(batch).await })
        };
        Box::pin(self.with(publish))
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        types: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>>> {
        Box::pin(async move {
            let member = Member {
                broker: self.clone(),
                group: group.to_owned(),
                types: types.to_owned(),
                joined: Mutex::default(),
            };
            self.with(|running| Box::pin(member.join(running))).await?;
            Ok(Box::new(member) as Box<dyn Subscription>)
        })
    }

    fn leave_out<'a>(&'a self, group: &'a str, types: &'a [String]) -> BoxFuture<'a, Result<()>> {
        let leave_out = move |running: Running| -> BoxFuture<'a, _> {
            Box::pin(async move { running.bus.leave_out(group, types).await })
        };
        Box::pin(self.with(leave_out))
    }

    fn rewind<'a>(
        &'a self,
        group: &'a str,
        since: Timestamp,
        meanwhile: BoxFuture<'a, Result<()>>,
    ) -> BoxFuture<'a, Result<()>> {
        let rewind = move |running: Running| -> BoxFuture<'a, _> {
            Box::pin(async move { running.bus.rewind(group, since, meanwhile).await })
        };
        Box::pin(self.with(rewind))
    }

    fn retention(&self) -> BoxFuture<'_, Result<Duration>> {
        let retention = |running: Running| -> BoxFuture<'_, _> {
            Box::pin(async move { running.bus.retention().await })
        };
        Box::pin(self.with(retention))
    }
}

/// A subscription that joins its group again when the bus is another process.
struct Member {
    broker: Broker,
    group: String,
    types: Vec<String>,
    joined: Mutex<Option<(u64, Arc<dyn Subscription>)>>,
}

impl Member {
    async fn join(&self, running: Running) -> Result<Arc<dyn Subscription>> {
        if let Some(joined) = self.in_life(running.number) {
            return Ok(joined);
        }
        let joined = running.bus.subscribe(&self.group, &self.types).await?;
        let joined: Arc<dyn Subscription> = Arc::from(joined);
        *self.joined() = Some((running.number, Arc::clone(&joined)));
        Ok(joined)
    }

    /// What was joined in this life of the bus.
    fn in_life(&self, number: u64) -> Option<Arc<dyn Subscription>> {
        let joined = self.joined();
        let (of, joined) = joined.as_ref()?;
        (*of == number).then(|| Arc::clone(joined))
    }

    fn joined(&self) -> MutexGuard<'_, Option<(u64, Arc<dyn Subscription>)>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles a delivery by `work`. One from an earlier life of the bus is delivered again, whatever becomes of it.
    async fn settle<'a>(
        &'a self,
        work: impl FnOnce(Arc<dyn Subscription>) -> BoxFuture<'a, Result<()>> + 'a,
    ) -> Result<()> {
        let settle = |running: Running| -> BoxFuture<'a, _> {
            match self.in_life(running.number) {
                Some(joined) => work(joined),
                None => Box::pin(std::future::ready(Ok(()))),
            }
        };
        self.broker.with(settle).await
    }
}

impl Subscription for Member {
    fn next(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        let next = move |running: Running| -> BoxFuture<'_, _> {
            Box::pin(async move { self.join(running).await?.next(limit).await })
        };
        Box::pin(self.broker.with(next))
    }

    fn ack<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.settle(move |joined| Box::pin(async move { joined.ack(delivery).await })))
    }

    fn retry<'a>(&'a self, delivery: &'a Delivery, after: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(
            self.settle(move |joined| Box::pin(async move { joined.retry(delivery, after).await })),
        )
    }
}
