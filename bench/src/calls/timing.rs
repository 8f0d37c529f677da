//! Nanoseconds of what is too short to be timed once.

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{runtime, task::unconstrained};
use tower::{Service, ServiceExt};

use crate::Result;

/// How long a round of one side takes, about.
const ROUND: Duration = Duration::from_millis(20);

/// Does a thing so many times, each thread by a future of its own.
pub type Work = Box<dyn Fn(u64) -> BoxFuture<'static, ()> + Send + Sync>;

/// What waits for nothing; it is told how often it was done before.
pub fn done(deed: impl Fn(u64) + Send + Sync + 'static) -> Work {
    let deed = Arc::new(deed);
    Box::new(move |times| {
        let deed = Arc::clone(&deed);
        Box::pin(async move { (0..times).for_each(&*deed) })
    })
}

/// What makes a future, and waits for it.
pub fn awaited<F>(deed: impl Fn() -> F + Send + Sync + 'static) -> Work
where
    F: Future + Send,
    F::Output: Send,
{
    let deed = Arc::new(deed);
    Box::new(move |times| {
        let deed = Arc::clone(&deed);
        Box::pin(async move {
            for _ in 0..times {
                black_box(deed().await);
            }
        })
    })
}

/// A call of a service that is ready; each thread has a clone.
pub fn called<S>(service: S) -> Work
where
    S: Service<()> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
{
    Box::new(move |times| {
        let mut service = service.clone();
        Box::pin(async move {
            for _ in 0..times {
                let Ok(ready) = service.ready().await else {
                    return;
                };
                let _ = black_box(ready.call(()).await);
            }
        })
    })
}

/// How many times fill a round. It warms up by the way: of two goes the second may find what the first had to fetch.
pub fn enough(work: &Work) -> Result<u64> {
    let mut times = 64;
    loop {
        let nanos = nanos(work, times, 1)?.min(nanos(work, times, 1)?);
        if nanos * times as f64 >= ROUND.as_nanos() as f64 / 2.0 {
            return Ok((ROUND.as_nanos() as f64 / nanos) as u64);
        }
        times *= 2;
    }
}

/// The nanoseconds for each time, where as many threads do it at the same time.
pub fn nanos(work: &Work, times: u64, threads: usize) -> Result<f64> {
    let all_there = Arc::new(Barrier::new(threads));
    let one = || -> Result<f64> {
        // Whoever uses tokio's locks is not made to yield, which is for fairness between tasks.
        let repeated = unconstrained(work(times));
        let runtime = runtime::Builder::new_current_thread().build()?;
        all_there.wait();
        let begun = env::instant();
        runtime.block_on(repeated);
        Ok(begun.elapsed().as_nanos() as f64 / times as f64)
    };
    let found = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.collect::<Vec<_>>()
    });
    let mut sum = 0.0;
    for one in found {
        sum += one.map_err(|_| "a thread panicked")??;
    }
    Ok(sum / threads as f64)
}
