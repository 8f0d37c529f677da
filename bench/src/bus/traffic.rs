//! What is sent, how fast, and when it came.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use env::Instant;
use events::{CloudEvent, Event, JsonSchema, schemars};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::Result;

/// So many things the events are about: none is so busy that its order is what is waited for.
const KEYS: usize = 1000;

/// What happened, about as large as the events of the shop.
#[derive(Serialize, Deserialize, JsonSchema, Event)]
#[event("account.changed", version = 1, key = account, crate = events)]
pub struct Changed {
    pub account: String,
    pub amount: i64,
    pub note: String,
}

/// The id of an event that is sent before the others, until whose arrival everything is being set up.
const FIRST: &str = "first";

/// The event number `number`, which its id says.
pub fn event(number: usize) -> Result<CloudEvent> {
    let mut event = CloudEvent::of(&Changed {
        account: format!("account-{}", number % KEYS),
        amount: 1250,
        note: "a deposit with a note of ordinary length".to_owned(),
    })?;
    event.id = number.to_string();
    event.source = "bench".to_owned();
    Ok(event)
}

/// An event that is not measured: [`Meter::ready`] waits for it.
pub fn first() -> Result<CloudEvent> {
    let mut event = event(0)?;
    event.id = FIRST.to_owned();
    Ok(event)
}

/// How many events are sent, and how.
#[derive(Clone, Copy)]
pub struct Load {
    pub count: usize,
    /// So many a second, whether or not those before have arrived; without it, as fast as they are taken.
    rate: Option<u32>,
}

impl Load {
    pub fn full(count: usize) -> Self {
        Self { count, rate: None }
    }

    pub fn steady(rate: u32, seconds: usize) -> Self {
        Self {
            count: rate as usize * seconds,
            rate: Some(rate),
        }
    }

    pub fn is_steady(self) -> bool {
        self.rate.is_some()
    }

    /// Waits until the event number `number` is due, after a start.
    pub async fn due(self, start: Instant, number: usize) {
        if let Some(rate) = self.rate {
            env::sleep_until(start + Duration::from_secs(1) * number as u32 / rate).await;
        }
    }
}

/// Times so many events from where they are published to where they are done with.
#[derive(Clone)]
pub struct Meter(Arc<Times>);

struct Times {
    zero: Instant,
    /// In microseconds after zero; 0 for not yet.
    sent: Vec<AtomicU64>,
    came: Vec<AtomicU64>,
    missing: AtomicUsize,
    ready: Notify,
    complete: Notify,
}

/// What was found.
pub struct Measured {
    /// Events a second, from the first that was sent to the last that came.
    pub rate: f64,
    /// Of 100 events 99 came within so many milliseconds.
    pub p99: f64,
}

impl Meter {
    pub fn new(load: Load) -> Self {
        let times = || (0..load.count).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Times {
            zero: env::instant(),
            sent: times(),
            came: times(),
            missing: AtomicUsize::new(load.count),
            ready: Notify::new(),
            complete: Notify::new(),
        }))
    }

    /// An event is about to be sent.
    pub fn sent(&self, number: usize) {
        self.0.sent[number].store(self.now(), Ordering::Relaxed);
    }

    /// An event is done with; that it comes again does not count.
    pub fn came(&self, id: &str) {
        if id == FIRST {
            return self.0.ready.notify_one();
        }
        let number: usize = id.parse().expect("the other ids are numbers");
        if self.0.came[number].swap(self.now(), Ordering::Relaxed) == 0
            && self.0.missing.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.0.complete.notify_one();
        }
    }

    fn now(&self) -> u64 {
        let elapsed = env::instant() - self.0.zero;
        u64::try_from(elapsed.as_micros())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    /// Waits until the [first] has come.
    pub async fn ready(&self) {
        self.0.ready.notified().await;
    }

    /// Waits until all have come.
    pub async fn measured(&self) -> Result<Measured> {
        self.0.complete.notified().await;
        let read = |times: &[AtomicU64]| -> Vec<u64> {
            times.iter().map(|it| it.load(Ordering::Relaxed)).collect()
        };
        let (sent, came) = (read(&self.0.sent), read(&self.0.came));
        let mut latencies = Histogram::<u64>::new(3)?;
        for (sent, came) in sent.iter().zip(&came) {
            latencies.record(came.saturating_sub(*sent))?;
        }
        let begin = sent.iter().min().copied().unwrap_or_default();
        let end = came.iter().max().copied().unwrap_or_default();
        Ok(Measured {
            rate: came.len() as f64 * 1e6 / (end - begin) as f64,
            p99: latencies.value_at_quantile(0.99) as f64 / 1e3,
        })
    }
}

/// Does `work` while another task `receives`, which ends only by an error.
pub async fn beside<T>(
    work: impl Future<Output = Result<T>>,
    receives: impl Future<Output = Result<Infallible>> + Send + 'static,
) -> Result<T> {
    let mut receiving = tokio::spawn(receives);
    let result = tokio::select! {
        result = work => result,
        ended = &mut receiving => match ended? {
            Ok(never) => match never {},
            Err(error) => Err(error),
        },
    };
    receiving.abort();
    result
}
