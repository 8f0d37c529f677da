//! A world in which names have the addresses that a test gives them.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use env::{
    Timestamp,
    net::{DynIo, DynListener},
    world::{Entered, World},
};
use futures::future::BoxFuture;

/// The world is left when this is dropped.
pub(crate) struct Names {
    known: Rc<Known>,
    _entered: Entered,
}

#[derive(Default)]
struct Known {
    addresses: RefCell<BTreeMap<String, Vec<SocketAddr>>>,
    asked: Cell<usize>,
}

impl Names {
    pub(crate) fn enter() -> Self {
        let known = Rc::new(Known::default());
        Self {
            _entered: env::world::enter(known.clone()),
            known,
        }
    }

    /// Gives `name` these addresses, of which there may be none: the name is not found then.
    pub(crate) fn set(&self, name: &str, addresses: &[SocketAddr]) {
        let mut known = self.known.addresses.borrow_mut();
        known.insert(name.to_owned(), addresses.to_vec());
    }

    /// How many names were looked up.
    pub(crate) fn asked(&self) -> usize {
        self.known.asked.get()
    }
}

impl World for Known {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
    fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<DynListener>> {
        Box::pin(async { Err(io::ErrorKind::AddrInUse.into()) })
    }
    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<DynIo>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.asked.set(self.asked.get() + 1);
        let found = self.addresses.borrow().get(name).cloned();
        Box::pin(async { found.ok_or_else(|| io::ErrorKind::NotFound.into()) })
    }
    fn local_address(&self) -> IpAddr {
        [127, 0, 0, 1].into()
    }
}
