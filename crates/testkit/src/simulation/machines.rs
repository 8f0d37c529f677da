//! Which simulated machine is running.
//!
//! turmoil does not say, so each machine is known by the runtime that runs its code.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::runtime::{Handle, Id};

/// The machines of a simulation. Clones are handles of the same list.
#[derive(Clone, Default)]
pub(super) struct Machines(Arc<Mutex<Vec<Machine>>>);

/// A simulated machine.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) name: Arc<str>,
    pub(super) address: IpAddr,
    /// The runtime that runs its code now; another one after each crash.
    runtime: Option<Id>,
    /// How far its wall clock is from the right time, in milliseconds.
    ahead_ms: i64,
}

impl Machines {
    pub(super) fn add(&self, name: &str, address: IpAddr) {
        let machine = Machine {
            name: name.into(),
            address,
            runtime: None,
            ahead_ms: 0,
        };
        self.list().push(machine);
    }

    /// To be called by the code of the machine at `address` when it starts.
    pub(super) fn started(&self, address: IpAddr) {
        let runtime = Handle::try_current().ok().map(|runtime| runtime.id());
        let mut list = self.list();
        let machine = list.iter_mut().find(|machine| machine.address == address);
        if let Some(machine) = machine {
            machine.runtime = runtime;
        }
    }

    /// Sets how far the wall clock of the machine `name` is from the right time.
    pub(super) fn set_ahead(&self, name: &str, ahead_ms: i64) {
        let mut list = self.list();
        if let Some(machine) = list.iter_mut().find(|machine| &*machine.name == name) {
            machine.ahead_ms = ahead_ms;
        }
    }

    /// How far the wall clock is of the machine whose code is running.
    pub(super) fn ahead_ms(&self) -> i64 {
        if self.list().iter().all(|machine| machine.ahead_ms == 0) {
            return 0;
        }
        self.current().map_or(0, |machine| machine.ahead_ms)
    }

    /// The name of the machine at `address`.
    pub(super) fn name_at(&self, address: IpAddr) -> Option<Arc<str>> {
        let list = self.list();
        let machine = list.iter().find(|machine| machine.address == address);
        machine.map(|machine| Arc::clone(&machine.name))
    }

    /// The machine whose code is running; `None` between their turns.
    pub(super) fn current(&self) -> Option<Machine> {
        let runtime = Handle::try_current().ok()?.id();
        let list = self.list();
        let current = list.iter().find(|machine| machine.runtime == Some(runtime));
        current.cloned()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Machine>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
