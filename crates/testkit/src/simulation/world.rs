//! The world of a simulation: one clock, one generator, and the network of turmoil.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use env::{
    Timestamp,
    net::{DynIo, DynListener, SimulatedListener},
    world::{Effect, Moment, World},
};
use futures::future::BoxFuture;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    BUS, clock::Clock, connection::Connection, crash_point::Effects, interpose::EPOCH_SECONDS,
    machines::Machines, network::Network, trace::Trace,
};

/// What the code of every simulated machine asks instead of the operating system.
pub(super) struct Simulated {
    epoch: Timestamp,
    clock: Clock,
    chance: RefCell<StdRng>,
    machines: Machines,
    trace: Trace,
    network: Network,
    effects: Effects,
}

impl Simulated {
    pub(super) fn new(
        seed: u64,
        clock: Clock,
        machines: Machines,
        trace: Trace,
        network: Network,
        effects: Effects,
    ) -> Self {
        let epoch = i64::try_from(EPOCH_SECONDS).unwrap_or(0);
        Self {
            epoch: Timestamp::from_second(epoch).unwrap_or_default(),
            clock,
            chance: RefCell::new(StdRng::seed_from_u64(seed)),
            machines,
            trace,
            network,
            effects,
        }
    }
}

impl World for Simulated {
    fn now(&self) -> Timestamp {
        let ahead_ms = self.machines.ahead_ms();
        let wrong_by = Duration::from_millis(ahead_ms.unsigned_abs());
        let right = self.epoch.saturating_add(self.clock.elapsed());
        let shown = right.and_then(|right| match ahead_ms {
            ..0 => right.saturating_sub(wrong_by),
            0.. => right.saturating_add(wrong_by),
        });
        shown.unwrap_or(Timestamp::MAX)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.chance.borrow_mut().fill_bytes(bytes);
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<DynListener>> {
        let (trace, network) = (self.trace.clone(), self.network.clone());
        Box::pin(async move {
            // turmoil listens on all addresses of a machine, or on its loopback; a machine has one address.
            let all = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            let address = if address.ip().is_loopback() {
                address
            } else {
                all
            };
            let listener = turmoil::net::TcpListener::bind(address).await?;
            Ok(Box::new(Listener {
                listener,
                trace,
                network,
            }) as DynListener)
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<DynIo>> {
        let (trace, network) = (self.trace.clone(), self.network.clone());
        Box::pin(async move {
            let stream = turmoil::net::TcpStream::connect(address).await?;
            Ok(Box::new(Connection::new(stream, trace, network)?) as DynIo)
        })
    }

    fn local_address(&self) -> IpAddr {
        let machine = self.machines.current();
        machine.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |machine| machine.address)
    }

    fn survives(&self, moment: Moment, effect: Effect<'_>) -> bool {
        if let (Moment::After, Effect::Commit(_)) = (moment, effect) {
            self.trace.seen().commit();
        }
        if is_of_the_bus(effect) {
            return true;
        }
        let Some(machine) = self.machines.current() else {
            return true;
        };
        let fates = self.network.fates();
        if let Some(steps) = self.effects.strike(&machine.name, moment, effect) {
            fates.doom(&machine.name, steps);
        }
        fates.survives(&machine.name)
    }
}

/// The bus is a process of its own, which does not die with those who call it.
fn is_of_the_bus(effect: Effect<'_>) -> bool {
    matches!(effect, Effect::Commit(file) if file.file_stem().is_some_and(|name| name == BUS))
}

struct Listener {
    listener: turmoil::net::TcpListener,
    trace: Trace,
    network: Network,
}

impl SimulatedListener for Listener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(DynIo, SocketAddr)>> {
        Box::pin(async {
            let (stream, peer) = self.listener.accept().await?;
            let connection = Connection::new(stream, self.trace.clone(), self.network.clone())?;
            Ok((Box::new(connection) as DynIo, peer))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
