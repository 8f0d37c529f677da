//! How many sagas end in a time, how long each takes, and what it costs.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future;
use hdrhistogram::Histogram;

use crate::Result;

/// So long goes by before it is measured: connections and plans are made.
const WARM_UP: Duration = Duration::from_secs(2);

/// How many at the same time, and for how long.
#[derive(Clone, Copy)]
pub struct Load {
    pub in_flight: usize,
    pub length: Duration,
}

/// What was found.
pub struct Measured {
    /// Sagas a second.
    pub rate: f64,
    /// From start to end, in milliseconds: of half of the sagas at most, and of 99 of 100.
    pub p50: f64,
    pub p99: f64,
    /// For a saga, in milliseconds.
    pub cpu: f64,
}

/// Has sagas placed one after the other, so many at the same time, and each under another number.
pub async fn measure<F: Future<Output = Result<()>>>(
    load: Load,
    place: impl Fn(usize) -> F,
    cpu: impl Fn() -> Result<Duration>,
) -> Result<Measured> {
    let next = AtomicUsize::new(0);
    let all_until = async |end: env::Instant, latencies: &Mutex<Histogram<u64>>| {
        let customers = (0..load.in_flight).map(|_| async {
            while env::instant() < end {
                let start = env::instant();
                place(next.fetch_add(1, Ordering::Relaxed)).await?;
                let took = u64::try_from(start.elapsed().as_micros())?;
                let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
                latencies.record(took)?;
            }
            Ok::<_, crate::Error>(())
        });
        future::try_join_all(customers).await
    };
    all_until(env::instant() + WARM_UP, &Mutex::new(Histogram::new(3)?)).await?;

    let latencies = Mutex::new(Histogram::new(3)?);
    let (start, cpu_before) = (env::instant(), cpu()?);
    all_until(start + load.length, &latencies).await?;
    let (took, used) = (start.elapsed(), cpu()? - cpu_before);
    let latencies = latencies
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let count = latencies.len() as f64;
    let quantile = |share| latencies.value_at_quantile(share) as f64 / 1e3;
    Ok(Measured {
        rate: count / took.as_secs_f64(),
        p50: quantile(0.5),
        p99: quantile(0.99),
        cpu: used.as_secs_f64() * 1e3 / count,
    })
}
