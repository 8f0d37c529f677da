//! How well a strategy spreads calls, by a model: ten instances, one of them ten times slower.
//!
//! Calls come by chance, 300 a second. Each instance has four workers and a queue; a call takes 10 ms on average, and
//! 100 ms on the slow one, exponentially distributed. Chance is seeded and time is the model's, so the figures, which
//! the guide quotes, are the same in every run.

use std::{
    cell::Cell,
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use env::{
    Instant, Timestamp,
    net::{DynIo, DynListener},
    world::{self, World},
};
use futures::future::BoxFuture;
use outrigger_discovery::balance::{Candidate, Picker, Strategy, load::PeakEwma};

const INSTANCES: usize = 10;
const SLOW: usize = 3;
const WORKERS: usize = 4;
const CALLS: usize = 60_000;
const CALLS_A_SECOND: f64 = 300.0;

/// A world of chance from a seed (SplitMix64), and nothing else.
struct Seeded(Cell<u64>);

impl Seeded {
    fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Exponentially distributed with this mean.
    fn time(&self, mean: f64) -> f64 {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        -mean * (1.0 - uniform).ln()
    }
}

impl World for Seeded {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }

    fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<DynListener>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<DynIo>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn local_address(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }
}

/// An instance of the model.
struct Modelled {
    load: PeakEwma,
    mean: f64,
    working: usize,
    /// When those came who wait for a worker.
    queue: VecDeque<u64>,
}

impl Candidate for Modelled {
    fn in_flight(&self) -> usize {
        self.working + self.queue.len()
    }

    fn latency(&self, now: Instant) -> Option<f64> {
        self.load.seconds(now)
    }

    fn weight(&self) -> f64 {
        1.0
    }

    fn warmth(&self, _: Instant) -> f64 {
        1.0
    }
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// What calls took in milliseconds, sorted.
pub(crate) fn run(strategy: Strategy) -> Vec<f64> {
    let chance = Rc::new(Seeded(Cell::new(42)));
    let _world = world::enter(chance.clone());
    let begun = env::instant();
    let at = |nanos: u64| begun + Duration::from_nanos(nanos);
    let picker = Picker::new(strategy);
    let mut instances: Vec<_> = (0..INSTANCES)
        .map(|index| Modelled {
            load: PeakEwma::new(begun),
            mean: if index == SLOW { 0.1 } else { 0.01 },
            working: 0,
            queue: VecDeque::new(),
        })
        .collect();
    // Ends of work: when, where, and when the call came.
    let mut ends: BinaryHeap<Reverse<(u64, usize, u64)>> = BinaryHeap::new();
    let (mut took, mut arrival) = (Vec::with_capacity(CALLS), 0);
    for _ in 0..CALLS {
        arrival += nanos(chance.time(1.0 / CALLS_A_SECOND));
        while let Some(Reverse((end, index, came))) = ends.peek().copied()
            && end <= arrival
        {
            ends.pop();
            took.push((end - came) as f64 / 1e6);
            let instance = &mut instances[index];
            instance
                .load
                .answered(Duration::from_nanos(end - came), at(end));
            match instance.queue.pop_front() {
                Some(waiting) => {
                    let end = end + nanos(chance.time(instance.mean));
                    ends.push(Reverse((end, index, waiting)));
                }
                None => instance.working -= 1,
            }
        }
        let picked = picker.pick(&instances, None, None, at(arrival), |_| true);
        let index = picked.expect("all take calls");
        let instance = &mut instances[index];
        if instance.working < WORKERS {
            instance.working += 1;
            let end = arrival + nanos(chance.time(instance.mean));
            ends.push(Reverse((end, index, arrival)));
        } else {
            instance.queue.push_back(arrival);
        }
    }
    took.sort_by(f64::total_cmp);
    took
}

/// What so large a share of the calls took at most.
pub(crate) fn quantile(took: &[f64], share: f64) -> f64 {
    took[(took.len() as f64 * share) as usize]
}
