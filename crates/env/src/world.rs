//! The seam: what the outside world answers, and how a simulation takes its place.
//!
//! A thread has at most one world. Without one, the real clock, generator and sockets answer. A
//! simulation is one thread, enters its world before anything else runs there, and so owns every
//! answer that the code under it gets.

use std::{
    cell::RefCell,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    rc::Rc,
};

use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::net::{DynIo, DynListener};

/// What a simulation answers in place of the operating system.
pub trait World: 'static {
    /// Wall time on the machine that is asking (simulated machines may disagree).
    fn now(&self) -> Timestamp;

    /// Fills `bytes` from the generator of the run.
    fn fill_random(&self, bytes: &mut [u8]);

    /// Opens a listening socket on the machine that is asking.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<DynListener>>;

    /// Opens a connection from the machine that is asking.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<DynIo>>;

    /// The addresses of `host:port`, where the host is a name. By default there is no such name: what is simulated has
    /// addresses.
    fn resolve(&self, _host_and_port: &str) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }

    /// The address at which others reach the machine that is asking.
    fn local_address(&self) -> IpAddr;

    /// Whether the process that is asking survives this moment; see [`survives`].
    fn survives(&self, _moment: Moment, _effect: Effect<'_>) -> bool {
        true
    }
}

/// What outlives the process that does it: a crash just before and a crash just after are told apart by it, and by
/// nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect<'a> {
    /// What was written to this database file becomes durable.
    Commit(&'a Path),
    /// The bus takes events.
    Publish,
    /// The bus hears that an event is done with.
    Acknowledge,
}

/// The instant before an [`Effect`] or the one after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing has happened yet.
    Before,
    /// It has happened, and nobody in the process knows it yet.
    After,
}

/// Whether the process that is asking survives this moment: where nothing is simulated, always. If not, it must not
/// cause `effect`, nor tell anybody that it did.
pub fn survives(moment: Moment, effect: Effect<'_>) -> bool {
    current().is_none_or(|world| world.survives(moment, effect))
}

thread_local! {
    static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
}

/// Puts `world` in the place of the real one on this thread until the guard is dropped.
#[must_use = "the world is left when the guard is dropped"]
pub fn enter(world: Rc<dyn World>) -> Entered {
    Entered {
        previous: WORLD.replace(Some(world)),
    }
}

/// Leaves the entered world, for the one before it, when dropped.
pub struct Entered {
    previous: Option<Rc<dyn World>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        WORLD.set(self.previous.take());
    }
}

/// The world of this thread, if a simulation entered one.
pub(crate) fn current() -> Option<Rc<dyn World>> {
    WORLD.with_borrow(Clone::clone)
}
