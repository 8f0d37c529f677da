//! What it costs to find the instance for a call, among few and among many.
//!
//! Ours is what a client does for each call: all instances are there, well and in rotation, and nothing is known of their
//! latencies yet. Tower's is `balance::p2c` over services that are always ready and answer at once. It has no pick apart from
//! the call; with a constant load nothing is measured in it, with peak EWMA the answer is. A `Balance` is for one caller;
//! several share it here by a mutex, which costs less than the `Buffer` that is meant for it.

use std::{
    convert::Infallible,
    fmt::Debug,
    future::{Ready, poll_fn, ready},
    hint::black_box,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use discovery::{
    Clients, Instance, Settings, StaticList,
    balance::{Key, Strategy},
};
use futures::FutureExt;
use tower::{
    Service,
    balance::p2c::Balance,
    discover::ServiceList,
    load::{CompleteOnResponse, Constant, Load, PeakEwma},
};

use super::{
    Contest,
    timing::{Work, awaited, done},
};

const SERVICE: &str = "user-service";
const MANY: [u16; 3] = [3, 100, 1_000];

const STRATEGIES: [(Strategy, &str); 6] = [
    (Strategy::PeakEwma, "P2C peak EWMA"),
    (Strategy::LeastConnections, "least connections"),
    (Strategy::RoundRobin, "round robin"),
    (Strategy::Random, "random"),
    (Strategy::Weighted, "weighted"),
    (Strategy::ConsistentHash, "Maglev"),
];

pub fn contests() -> Vec<Contest> {
    let contest = |(count, (strategy, name)): (u16, (Strategy, &str))| {
        let mut peers = vec![("tower p2c, constant load", p2c(count, constant))];
        if strategy == Strategy::PeakEwma {
            peers.push(("tower p2c, peak EWMA", p2c(count, measured)));
        }
        Contest {
            case: format!("pick of {count}, {name}"),
            ours: ours(count, strategy),
            peers,
            settings: "all ready; the peer's includes a call that is answered at once",
        }
    };
    let each = MANY
        .into_iter()
        .flat_map(|count| STRATEGIES.map(|strategy| (count, strategy)));
    each.map(contest).collect()
}

fn ours(count: u16, strategy: Strategy) -> Work {
    let at = |port| Instance::new(SERVICE, SocketAddr::from(([127, 0, 0, 1], port)));
    let instances = StaticList::new((1..=count).map(at));
    let settings = Settings {
        strategy,
        ..Settings::default()
    };
    let clients = Clients::with_settings(Arc::new(instances), None, settings);
    let upstream = clients.upstream(SERVICE);
    let hashed = strategy == Strategy::ConsistentHash;
    done(move |time| {
        // Keys that lie apart from each other, as those of users do.
        let key = hashed.then(|| Key(time.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        black_box(black_box(&upstream).pick(key));
    })
}

/// Picks, and calls who was picked.
fn p2c<S>(count: u16, service: impl Fn() -> S) -> Work
where
    S: Service<(), Error = Infallible> + Load + Send + 'static,
    S::Metric: Debug,
    S::Future: Send,
    S::Response: Send,
{
    let services: Vec<_> = (0..count).map(|_| service()).collect();
    let balance = Mutex::new(Balance::new(ServiceList::new::<()>(services)));
    awaited(move || {
        let mut balance = balance.lock().unwrap_or_else(PoisonError::into_inner);
        // It answers `Pending` only as long as no service is ready.
        let ready = poll_fn(|cx| balance.poll_ready(cx)).now_or_never();
        assert!(matches!(ready, Some(Ok(()))), "all are ready");
        balance.call(())
    })
}

type Answer = Result<(), Infallible>;

fn constant() -> Constant<Instant, u32> {
    Constant::new(Instant, 1)
}

fn measured() -> PeakEwma<Instant> {
    let (rtt, decay) = (Duration::from_millis(30), Duration::from_secs(10));
    PeakEwma::new(
        Instant,
        rtt,
        decay.as_nanos() as f64,
        CompleteOnResponse::default(),
    )
}

/// Answers at once.
struct Instant;

impl Service<()> for Instant {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Answer> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}
