//! What the ends of simulated connections ask before each step: whether their machine lives, and whether the link cuts
//! what they send.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use super::{fate::Fates, machines::Machines};

/// Clones ask the same network.
#[derive(Clone)]
pub(super) struct Network {
    machines: Machines,
    fates: Fates,
    /// The links that cut the next message, the lower address first.
    cutting: Arc<Mutex<BTreeSet<(IpAddr, IpAddr)>>>,
}

impl Network {
    pub(super) fn of(machines: Machines) -> Self {
        Self {
            machines,
            fates: Fates::default(),
            cutting: Arc::default(),
        }
    }

    pub(super) fn fates(&self) -> &Fates {
        &self.fates
    }

    /// The next message between the two is cut, or is not any more.
    pub(super) fn set_cutting(&self, a: IpAddr, b: IpAddr, is_cutting: bool) {
        let mut links = self.cutting.lock().unwrap_or_else(PoisonError::into_inner);
        if is_cutting {
            links.insert(link(a, b));
        } else {
            links.remove(&link(a, b));
        }
    }

    /// Whether this message is the one that is cut.
    pub(super) fn breaks(&self, a: IpAddr, b: IpAddr) -> bool {
        let mut links = self.cutting.lock().unwrap_or_else(PoisonError::into_inner);
        !links.is_empty() && links.remove(&link(a, b))
    }

    /// Whether the machine at `address` lives to take its next step.
    pub(super) fn survives(&self, address: IpAddr) -> bool {
        if !self.fates.any() {
            return true;
        }
        let name = self.machines.name_at(address);
        name.is_none_or(|name| self.fates.survives(&name))
    }

    /// Whether the machine at `address` is dead.
    pub(super) fn is_dead(&self, address: IpAddr) -> bool {
        if !self.fates.any() {
            return false;
        }
        let name = self.machines.name_at(address);
        name.is_some_and(|name| self.fates.is_dead(&name))
    }
}

fn link(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    (a.min(b), a.max(b))
}
