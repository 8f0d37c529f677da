//! Simulated time: wall time goes with the paused clock of tokio, and ids are the same in every run.

use std::{cell::RefCell, io, net::IpAddr, net::Ipv4Addr, net::SocketAddr, rc::Rc};

use env::{
    Instant, Timestamp,
    net::{DynIo, DynListener},
    world::{self, World},
};
use futures::future::BoxFuture;
use rand::{Rng, SeedableRng, rngs::StdRng};

struct Simulated {
    start: Instant,
    chance: RefCell<StdRng>,
}

/// Runs `test` with simulated time, on this thread.
pub(crate) fn simulated<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let _entered = world::enter(Rc::new(Simulated {
            start: env::instant(),
            chance: RefCell::new(StdRng::seed_from_u64(1)),
        }));
        test.await
    })
}

impl World for Simulated {
    fn now(&self) -> Timestamp {
        let epoch = Timestamp::from_second(1_800_000_000).expect("a time");
        epoch + (env::instant() - self.start)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.chance.borrow_mut().fill_bytes(bytes);
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
