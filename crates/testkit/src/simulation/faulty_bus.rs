//! A bus with all the faults that its contract allows.
//!
//! It is slow; it does not answer, before or after it has done what it was asked; it loses acknowledgements, and so
//! delivers again what was handled. It never loses an event and never breaks the order of a key: a bus that did
//! would be wrong, not faulty.
//!
//! What it takes and gives is logged, and so is in the trace of a run like the messages of the network.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use events::{Bus, CloudEvent, Delivery, Error, Result, Subscription};
use futures::future::BoxFuture;
use rand::RngExt;
use serde::Serialize;

/// How faulty a bus is. Probabilities are from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BusFaults {
    /// The longest that it takes to begin with what it was asked, in milliseconds of simulated time.
    pub delay_ms_max: u64,
    /// How probably it does not answer, in half of the cases after it has done what it was asked.
    pub silence: f64,
    /// How probably an acknowledgement is lost, so that what was handled is delivered again.
    pub lost_acknowledgement: f64,
}

/// See the [module](self). Clones are handles of one bus.
#[derive(Clone)]
pub struct FaultyBus {
    bus: Arc<dyn Bus>,
    mood: Mood,
}

#[derive(Clone)]
struct Mood {
    faults: BusFaults,
    calm: Arc<AtomicBool>,
}

impl FaultyBus {
    /// Makes `bus` faulty.
    pub fn new(bus: Arc<dyn Bus>, faults: BusFaults) -> Self {
        let calm = Arc::default();
        Self {
            bus,
            mood: Mood { faults, calm },
        }
    }

    /// Ends its faults for good.
    pub fn calm(&self) {
        self.mood.calm.store(true, Ordering::Relaxed);
    }
}

impl Mood {
    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    async fn delay(&self) {
        if !self.is_calm() && self.faults.delay_ms_max > 0 {
            let millis = env::random().random_range(0..=self.faults.delay_ms_max);
            env::sleep(Duration::from_millis(millis)).await;
        }
    }

    fn strikes(&self, probability: f64) -> bool {
        !self.is_calm() && env::random().random_bool(probability.clamp(0.0, 1.0))
    }

    fn silence(&self, when: &'static str) -> Result<()> {
        if self.strikes(self.faults.silence / 2.0) {
            return Err(Error::Unavailable {
                source: when.into(),
            });
        }
        Ok(())
    }

    /// Does `work` as a faulty bus does it.
    async fn faulty<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.delay().await;
        self.silence("it was not asked (simulated)")?;
        let done = work.await?;
        self.silence("its answer was lost (simulated)")?;
        Ok(done)
    }
}

impl Bus for FaultyBus {
    fn publish(&self, batch: Vec<CloudEvent>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.mood.faulty(async move {
            let taken: Vec<_> = batch
                .iter()
                .map(|event| (event.kind.clone(), event.id.clone()))
                .collect();
            self.bus.publish(batch).await?;
            for (kind, id) in taken {
                tracing::debug!(kind, id, "the bus takes an event");
            }
            Ok(())
        }))
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        types: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>>> {
        Box::pin(async move {
            let subscription = self.mood.faulty(self.bus.subscribe(group, types)).await?;
            let mood = self.mood.clone();
            let group = group.to_owned();
            let faulty = Faulty {
                group,
                subscription,
                mood,
            };
            Ok(Box::new(faulty) as Box<dyn Subscription>)
        })
    }
}

struct Faulty {
    group: String,
    subscription: Box<dyn Subscription>,
    mood: Mood,
}

impl Subscription for Faulty {
    fn next(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        Box::pin(async move {
            // Only before: what was taken and then forgotten would be lost until the subscription ends.
            self.mood.delay().await;
            self.mood.silence("it gives nothing (simulated)")?;
            let given = self.subscription.next(limit).await?;
            for delivery in &given {
                let (group, id, attempt) = (&self.group, &delivery.event.id, delivery.attempt);
                tracing::debug!(group, id, attempt, "the bus gives an event");
            }
            Ok(given)
        })
    }

    fn ack<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if self.mood.strikes(self.mood.faults.lost_acknowledgement) {
                let again = Duration::from_millis(env::random().random_range(0..500));
                let id = &delivery.event.id;
                tracing::debug!(group = self.group, id, "an acknowledgement is lost");
                return self.subscription.retry(delivery, again).await;
            }
            self.mood.faulty(self.subscription.ack(delivery)).await
        })
    }

    fn retry<'a>(&'a self, delivery: &'a Delivery, after: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.mood.faulty(self.subscription.retry(delivery, after)))
    }
}
