//! Instances that live and change, and how soon their watchers hear of it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use env::Instant;
use futures::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::side::{Place, Side};
use crate::{Result, processes};

/// How many, and for how long.
#[derive(Clone, Copy)]
pub struct Load {
    pub services: usize,
    pub instances: usize,
    pub watchers: usize,
    pub length: Duration,
}

impl Load {
    pub const WHOLE: Self = Self {
        services: 20,
        instances: 10_000,
        watchers: 1_000,
        length: Duration::from_secs(60),
    };
    pub const SMALL: Self = Self {
        services: 4,
        instances: 400,
        watchers: 40,
        length: Duration::from_secs(3),
    };

    /// The instances of a service.
    fn each(self) -> usize {
        self.instances / self.services
    }

    fn places(self) -> impl Iterator<Item = Place> {
        let places = move |service| (0..self.each()).map(move |number| Place { service, number });
        (0..self.services).flat_map(places)
    }
}

/// As the settings of a service have it by default.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Between two changes, of one service after the other.
const CHANGE: Duration = Duration::from_millis(100);
/// So many requests are under way at most.
const AT_ONCE: usize = 64;
/// Whoever has not seen a change by then will not see it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was found.
pub struct Measured {
    /// From before a change is sent until a watcher has it, in milliseconds.
    pub p50: f64,
    pub p99: f64,
    /// From before the first change of all instances of a service until every watcher has the last, in milliseconds.
    pub all_change: f64,
    /// Of the server, while instances live and change, in percent of a core.
    pub cpu: f64,
    /// Of the server, at its peak, in MiB.
    pub memory: f64,
}

pub async fn measure(side: impl Side, load: Load) -> Result<Measured> {
    let (side, log) = (Arc::new(side), Arc::new(Log::new(load)?));
    stream::iter(load.places())
        .map(|place| side.put(place, 0))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let mut watchers = JoinSet::new();
    for number in 0..load.watchers {
        let (side, service) = (Arc::clone(&side), number % load.services);
        let log = Arc::clone(&log);
        let seen = Seen {
            log,
            service,
            last: None,
        };
        watchers.spawn(async move { side.watch(service, seen).await });
    }
    log.until(load.watchers as u64).await?;
    let living = tokio::spawn(live(Arc::clone(&side), load));

    let process = side.process()?;
    let (begun, cpu) = (env::instant(), processes::cpu_of(process)?);
    let mut changes = JoinSet::new();
    let mut expected = load.watchers as u64;
    for (turn, service) in (0..load.services).cycle().enumerate() {
        if begun.elapsed() >= load.length {
            break;
        }
        let (side, change) = (Arc::clone(&side), log.changes(service));
        changes.spawn(async move { side.put(Place { service, number: 0 }, change).await });
        expected += (load.watchers / load.services) as u64;
        env::sleep_until(begun + CHANGE * (turn as u32 + 1)).await;
    }
    let used = processes::cpu_of(process)? - cpu;
    let cpu = 100.0 * used.as_secs_f64() / begun.elapsed().as_secs_f64();
    while let Some(changed) = changes.join_next().await {
        changed??;
    }
    log.until(expected).await?;
    let (p50, p99) = (log.millis(0.5), log.millis(0.99));
    let all_change = change_all(&*side, load, &log, expected).await?;
    let memory = processes::peak_of(process)?;
    if living.is_finished() {
        living.await??;
    } else {
        living.abort();
    }
    watchers.shutdown().await;
    Ok(Measured {
        p50,
        p99,
        all_change,
        cpu,
        memory,
    })
}

/// All instances of a service change as fast as they can, as after a restart; the one that is looked at is the last.
async fn change_all(side: &impl Side, load: Load, log: &Log, seen: u64) -> Result<f64> {
    let begun = env::instant();
    let others = (1..load.each()).map(|number| Place { service: 0, number });
    stream::iter(others)
        .map(|place| side.put(place, 1))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let last = log.changes(0);
    side.put(
        Place {
            service: 0,
            number: 0,
        },
        last,
    )
    .await?;
    log.until(seen + (load.watchers / load.services) as u64)
        .await?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

/// Every instance says in its turn that it lives; those that change do by that.
async fn live(side: Arc<impl Side>, load: Load) -> Result<()> {
    let quiet: Vec<_> = load.places().filter(|place| place.number > 0).collect();
    let pause = HEARTBEAT / quiet.len() as u32;
    let (begun, mut heartbeats) = (env::instant(), JoinSet::new());
    for (turn, place) in quiet.into_iter().cycle().enumerate() {
        env::sleep_until(begun + pause.mul_f64(turn as f64)).await;
        if heartbeats.len() >= AT_ONCE
            && let Some(ended) = heartbeats.join_next().await
        {
            ended??;
        }
        let side = Arc::clone(&side);
        heartbeats.spawn(async move { side.heartbeat(place).await });
    }
    Ok(())
}

/// When changes were made, and how long they took to be seen.
pub struct Log {
    /// Of each service: when its first instance was changed.
    changed: Vec<Mutex<Vec<Instant>>>,
    /// In microseconds.
    took: Mutex<Histogram<u64>>,
    /// How often a change was seen, the first state of each watcher included.
    seen: AtomicU64,
}

impl Log {
    fn new(load: Load) -> Result<Self> {
        let registered = || Mutex::new(vec![env::instant()]);
        Ok(Self {
            changed: (0..load.services).map(|_| registered()).collect(),
            took: Mutex::new(Histogram::new(3)?),
            seen: AtomicU64::new(0),
        })
    }

    /// A service changes now; its how manieth change that is.
    fn changes(&self, service: usize) -> u64 {
        let mut changed = lock(&self.changed[service]);
        changed.push(env::instant());
        changed.len() as u64 - 1
    }

    /// Waits until changes were seen so often.
    async fn until(&self, often: u64) -> Result<()> {
        let begun = env::instant();
        while self.seen.load(Ordering::Relaxed) < often {
            if begun.elapsed() > PATIENCE {
                let seen = self.seen.load(Ordering::Relaxed);
                return Err(format!("{seen} of {often} times a change was seen").into());
            }
            env::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    fn millis(&self, quantile: f64) -> f64 {
        lock(&self.took).value_at_quantile(quantile) as f64 / 1e3
    }
}

/// What one watcher has seen.
pub struct Seen {
    log: Arc<Log>,
    service: usize,
    last: Option<u64>,
}

impl Seen {
    /// The first instance of the service is as after so many changes.
    pub fn state(&mut self, change: u64) {
        let Some(last) = self.last.replace(change) else {
            self.log.seen.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let changed = lock(&self.log.changed[self.service]);
        let news = changed
            .iter()
            .skip(last as usize + 1)
            .take((change - last) as usize);
        let mut took = lock(&self.log.took);
        for change in news {
            let micros = change.elapsed().as_micros() as u64;
            took.record(micros).expect("it grows with what it holds");
            self.log.seen.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
