//! Wall time that goes with the paused clock of tokio.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
};

use env::{
    Instant, Timestamp,
    net::{DynIo, DynListener},
    world::{self, Entered, World},
};
use futures::future::BoxFuture;
use rand::{Rng, SeedableRng, rngs::StdRng};

struct Clock {
    start: Instant,
    chance: RefCell<StdRng>,
}

/// From here on, until the guard is dropped, `env::now` goes as `env::instant` does on this thread.
pub(crate) fn follow_the_paused_clock() -> Entered {
    world::enter(Rc::new(Clock {
        start: env::instant(),
        chance: RefCell::new(StdRng::seed_from_u64(1)),
    }))
}

impl World for Clock {
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
