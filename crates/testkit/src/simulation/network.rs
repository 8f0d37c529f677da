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
    /// The links that cut the next message that has a body, the lower address first.
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

    /// The next message with a body between the two is cut, or is not any more.
    pub(super) fn set_cutting(&self, a: IpAddr, b: IpAddr, is_cutting: bool) {
        let mut links = self.cutting.lock().unwrap_or_else(PoisonError::into_inner);
        if is_cutting {
            links.insert(link(a, b));
        } else {
            links.remove(&link(a, b));
        }
    }

    /// How much of this message arrives, if it is the one that is cut: half of its body.
    pub(super) fn cut(&self, a: IpAddr, b: IpAddr, message: &[u8]) -> Option<usize> {
        let mut links = self.cutting.lock().unwrap_or_else(PoisonError::into_inner);
        if !links.contains(&link(a, b)) {
            return None;
        }
        let body = message.len() - head(message);
        (body > 0 && links.remove(&link(a, b))).then(|| message.len() - body / 2)
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

/// How long the head of a message is. What has no end of one in it is all body.
fn head(message: &[u8]) -> usize {
    const END: &[u8] = b"\r\n\r\n";
    let end = message.windows(END.len()).position(|part| part == END);
    end.map_or(0, |end| end + END.len())
}

fn link(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    (a.min(b), a.max(b))
}
