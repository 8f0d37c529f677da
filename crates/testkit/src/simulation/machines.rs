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
}

impl Machines {
    pub(super) fn add(&self, name: &str, address: IpAddr) {
        let machine = Machine {
            name: name.into(),
            address,
            runtime: None,
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
