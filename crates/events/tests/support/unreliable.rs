//! A bus that does what real ones do: fails, repeats itself, and falls silent after it has done its work.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use env::Timestamp;
use events::{Bus, CloudEvent, Delivery, Error, Result, Subscription};
use futures::future::BoxFuture;
use outrigger_events as events;

pub(crate) struct Unreliable {
    bus: Arc<dyn Bus>,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    failures: AtomicUsize,
    twice: AtomicBool,
    mute: AtomicBool,
    unconfirmed: AtomicBool,
    /// Only so many events of a batch arrive, and then the request fails; as often as there are numbers.
    torn: Mutex<VecDeque<usize>>,
    /// Ids that are taken never.
    refused: Mutex<Vec<String>>,
}

impl Unreliable {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Arc<Self> {
        let faults = Arc::default();
        Arc::new(Self { bus, faults })
    }

    /// The next `count` requests fail.
    pub(crate) fn fail_next(&self, count: usize) {
        self.faults.failures.store(count, Relaxed);
    }

    pub(crate) fn failures_left(&self) -> usize {
        self.faults.failures.load(Relaxed)
    }

    /// An acknowledgement is not heard the first time, and the event is delivered again.
    pub(crate) fn deliver_twice(&self) {
        self.faults.twice.store(true, Relaxed);
    }

    /// Acknowledgements are not heard and not answered.
    pub(crate) fn never_acknowledge(&self) {
        self.faults.mute.store(true, Relaxed);
    }

    /// What is published is taken, and the publisher is never told.
    pub(crate) fn never_confirm(&self) {
        self.faults.unconfirmed.store(true, Relaxed);
    }
}

impl Unreliable {
    /// Of the next batches so many events arrive, and then the request fails.
    pub(crate) fn tear(&self, arrive: impl IntoIterator<Item = usize>) {
        self.faults.torn.lock().expect("no panic").extend(arrive);
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.faults.torn.lock().expect("no panic").is_empty()
    }

    /// From here on batches with the event `id` are refused.
    pub(crate) fn refuse(&self, id: &str) {
        let mut refused = self.faults.refused.lock().expect("no panic");
        refused.push(id.to_owned());
    }

    /// From here on everything is taken.
    pub(crate) fn refuse_nothing(&self) {
        self.faults.refused.lock().expect("no panic").clear();
    }
}

impl Faults {
    fn refuse(&self, batch: &[CloudEvent]) -> Result<()> {
        let refused = self.refused.lock().expect("no panic");
        match batch.iter().find(|event| refused.contains(&event.id)) {
            None => Ok(()),
            Some(event) => Err(Error::TooLarge {
                kind: event.kind.clone(),
                id: event.id.clone(),
                size: 9,
                limit: 8,
            }),
        }
    }

    fn check(&self) -> Result<()> {
        let less = |left: usize| left.checked_sub(1);
        match self.failures.fetch_update(Relaxed, Relaxed, less) {
            Ok(_) => Err(Error::Unavailable {
                source: "the cable is cut".into(),
            }),
            Err(_) => Ok(()),
        }
    }
}

impl Bus for Unreliable {
    fn publish(&self, batch: Vec<CloudEvent>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.faults.check()?;
            self.faults.refuse(&batch)?;
            let torn = self.faults.torn.lock().expect("no panic").pop_front();
            if let Some(arrive) = torn {
                let beginning = batch.into_iter().take(arrive).collect();
                self.bus.publish(beginning).await?;
                return Err(Error::Unavailable {
                    source: "the cable is cut".into(),
                });
            }
            self.bus.publish(batch).await?;
            if self.faults.unconfirmed.load(Relaxed) {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }

    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        types: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>>> {
        Box::pin(async move {
            self.faults.check()?;
            Ok(Box::new(Flaky {
                subscription: self.bus.subscribe(group, types).await?,
                faults: Arc::clone(&self.faults),
                repeated: Mutex::default(),
                seen: Mutex::default(),
            }) as Box<dyn Subscription>)
        })
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
}

struct Flaky {
    subscription: Box<dyn Subscription>,
    faults: Arc<Faults>,
    /// What is to be delivered again.
    repeated: Mutex<VecDeque<Delivery>>,
    /// What was acknowledged once.
    seen: Mutex<Vec<i64>>,
}

impl Flaky {
    /// Whether this is the first acknowledgement; then the event is delivered again.
    fn is_first(&self, delivery: &Delivery) -> bool {
        let mut seen = self.seen.lock().expect("no panic");
        if seen.contains(&delivery.lease) {
            return false;
        }
        seen.push(delivery.lease);
        let mut repeated = self.repeated.lock().expect("no panic");
        repeated.push_back(delivery.clone());
        true
    }
}

impl Subscription for Flaky {
    fn next(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        Box::pin(async move {
            self.faults.check()?;
            let again = self.repeated.lock().expect("no panic").pop_front();
            match again {
                Some(delivery) => Ok(vec![delivery]),
                None => self.subscription.next(limit).await,
            }
        })
    }

    fn ack<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.faults.check()?;
            if self.faults.mute.load(Relaxed) {
                std::future::pending::<()>().await;
            }
            if self.faults.twice.load(Relaxed) && self.is_first(delivery) {
                return Ok(());
            }
            self.subscription.ack(delivery).await
        })
    }

    fn retry<'a>(&'a self, delivery: &'a Delivery, after: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.faults.check()?;
            self.subscription.retry(delivery, after).await
        })
    }
}
