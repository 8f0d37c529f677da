//! A bus with all the faults that its contract allows.
//!
//! It is slow or away, for all or for one client; it does not answer, before or after it has done what it was asked; it loses acknowledgements, and
//! so delivers again what was handled; it delivers events of different keys in any order. It never loses an event and
//! never breaks the order of a key: a bus that did would be wrong, not faulty.
//!
//! What it takes and gives is logged, and so is in the trace of a run like the messages of the network.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use env::{
    Timestamp,
    world::{Effect, Moment, survives},
};
use events::{Bus, CloudEvent, Delivery, Error, Result, Subscription};
use futures::future::BoxFuture;
use rand::{RngExt, seq::SliceRandom};
use tokio::sync::watch;

/// How faulty a bus is. Probabilities are from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BusFaults {
    /// The longest that it takes to begin with what it was asked, in milliseconds of simulated time.
    pub delay_ms_max: u64,
    /// How probably it does not answer, in half of the cases after it has done what it was asked.
    pub silence: f64,
    /// How probably an acknowledgement is lost, so that what was handled is delivered again.
    pub lost_acknowledgement: f64,
    /// How probably an event is put off, so that later ones of other keys come before it.
    pub reordering: f64,
    /// It does nothing, and says so.
    pub is_down: bool,
}

/// See the [module](self). Clones are handles of one bus.
#[derive(Clone)]
pub struct FaultyBus {
    bus: Arc<dyn Bus>,
    mood: Mood,
}

#[derive(Clone)]
struct Mood {
    state: Arc<watch::Sender<State>>,
    /// Who asks.
    client: Option<Arc<str>>,
}

#[derive(Default)]
struct State {
    faults: BusFaults,
    /// The clients that cannot reach it.
    cut_off: BTreeSet<String>,
}

impl FaultyBus {
    /// Makes `bus` faulty.
    pub fn new(bus: Arc<dyn Bus>, faults: BusFaults) -> Self {
        let state = State {
            faults,
            ..State::default()
        };
        let mood = Mood {
            state: Arc::new(watch::Sender::new(state)),
            client: None,
        };
        Self { bus, mood }
    }

    /// A handle of the same bus that can be [cut off](Self::cut_off) by this name.
    #[must_use]
    pub fn client(&self, name: &str) -> Self {
        let mut client = self.clone();
        client.mood.client = Some(name.into());
        client
    }

    /// From now on it has these faults.
    pub fn set(&self, faults: BusFaults) {
        self.mood.state.send_modify(|state| state.faults = faults);
    }

    /// From now on these clients cannot reach it, and all others can.
    pub fn cut_off(&self, clients: BTreeSet<String>) {
        self.mood.state.send_modify(|state| state.cut_off = clients);
    }

    /// Ends its faults.
    pub fn calm(&self) {
        self.set(BusFaults::default());
    }
}

impl Mood {
    fn faults(&self) -> BusFaults {
        self.state.borrow().faults
    }

    fn is_away(&self, state: &State) -> bool {
        let client = self.client.as_deref();
        state.faults.is_down || client.is_some_and(|client| state.cut_off.contains(client))
    }

    /// Returns when the bus cannot be reached.
    async fn away(&self) {
        // The sender is ours, so it is not gone.
        let _ = self.state.subscribe().wait_for(|it| self.is_away(it)).await;
    }

    async fn delay(&self) {
        let longest = self.faults().delay_ms_max;
        if longest > 0 {
            let millis = env::random().random_range(0..=longest);
            env::sleep(Duration::from_millis(millis)).await;
        }
    }

    fn strikes(probability: f64) -> bool {
        probability > 0.0 && env::random().random_bool(probability.clamp(0.0, 1.0))
    }

    fn silence(&self, when: &'static str) -> Result<()> {
        if self.is_away(&self.state.borrow()) {
            tracing::debug!("the bus is out of reach");
            return Err(unavailable(when));
        }
        if Self::strikes(self.faults().silence / 2.0) {
            tracing::debug!(when, "the bus does not answer");
            return Err(unavailable(when));
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

fn unavailable(when: &'static str) -> Error {
    Error::Unavailable {
        source: when.into(),
    }
}

/// Does `work`, unless the process that asks for it dies just before; and answers, unless it dies just after.
async fn between_crashes<T>(effect: Effect<'_>, work: impl Future<Output = T>) -> T {
    if !survives(Moment::Before, effect) {
        return std::future::pending().await; // until its task is dropped
    }
    let done = work.await;
    if !survives(Moment::After, effect) {
        return std::future::pending().await;
    }
    done
}

impl Bus for FaultyBus {
    fn publish(&self, batch: Vec<CloudEvent>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.mood.faulty(async move {
            let taken: Vec<_> = batch
                .iter()
                .map(|event| (event.kind.clone(), event.id.clone()))
                .collect();
            between_crashes(Effect::Publish, self.bus.publish(batch)).await?;
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

    fn leave_out<'a>(&'a self, group: &'a str, types: &'a [String]) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.mood.faulty(self.bus.leave_out(group, types)))
    }

    fn rewind<'a>(
        &'a self,
        group: &'a str,
        since: Timestamp,
        meanwhile: BoxFuture<'a, Result<()>>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.mood.faulty(self.bus.rewind(group, since, meanwhile)))
    }

    fn retention(&self) -> BoxFuture<'_, Result<Duration>> {
        Box::pin(self.mood.faulty(self.bus.retention()))
    }
}

/// How soon what was lost or put off comes again, in milliseconds.
const AGAIN_MS: u64 = 500;

struct Faulty {
    group: String,
    subscription: Box<dyn Subscription>,
    mood: Mood,
}

impl Faulty {
    /// Shuffles what is given and puts some of it off: all are of different keys, and the bus keeps those back that
    /// come after what is put off.
    async fn reorder(&self, mut given: Vec<Delivery>) -> Vec<Delivery> {
        let reordering = self.mood.faults().reordering;
        if !Mood::strikes(reordering) {
            return given;
        }
        tracing::debug!(group = self.group, "the bus gives events out of order");
        given.shuffle(&mut env::random());
        let first = given.pop();
        let mut kept = Vec::from_iter(first);
        for delivery in given {
            let again = Duration::from_millis(env::random().random_range(0..AGAIN_MS));
            let put_off = Mood::strikes(reordering)
                && self.subscription.retry(&delivery, again).await.is_ok();
            if !put_off {
                kept.push(delivery);
            }
        }
        kept
    }
}

impl Subscription for Faulty {
    fn next(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        Box::pin(async move {
            // Only before it has given something: what was taken and then forgotten would be lost until the subscription
            // ends.
            self.mood.delay().await;
            self.mood.silence("it gives nothing (simulated)")?;
            let given = tokio::select! {
                biased;
                () = self.mood.away() => return Err(unavailable("it is gone (simulated)")),
                given = self.subscription.next(limit) => given?,
            };
            let given = self.reorder(given).await;
            for delivery in &given {
                let (group, id, attempt) = (&self.group, &delivery.event.id, delivery.attempt);
                tracing::debug!(group, id, attempt, "the bus gives an event");
            }
            Ok(given)
        })
    }

    fn ack<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if Mood::strikes(self.mood.faults().lost_acknowledgement) {
                let again = Duration::from_millis(env::random().random_range(0..AGAIN_MS));
                let id = &delivery.event.id;
                tracing::debug!(group = self.group, id, "an acknowledgement is lost");
                return self.subscription.retry(delivery, again).await;
            }
            let acknowledged =
                between_crashes(Effect::Acknowledge, self.subscription.ack(delivery));
            self.mood.faulty(acknowledged).await
        })
    }

    fn retry<'a>(&'a self, delivery: &'a Delivery, after: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.mood.faulty(self.subscription.retry(delivery, after)))
    }
}
