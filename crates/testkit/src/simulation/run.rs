//! What the simulated machines of a run share: they cannot reach each other but by the network and by this.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use env::Instant;
use outrigger::{Invariant, Platform, Service, System, system::Workload};
use serde_json::Value;
use tokio::sync::watch;

use super::{
    GATEWAY, HUB, USERS,
    faulty_bus::{BusFaults, FaultyBus},
    report::Violation,
    stage::TICK,
};
use crate::{Recorder, disk::Disk};

pub(super) struct Run {
    pub(super) system: System,
    /// The folder of the databases: what survives a crash.
    pub(super) data: PathBuf,
    /// The disk of each service.
    pub(super) disks: BTreeMap<String, Disk>,
    /// What its users do.
    pub(super) script: Arc<Workload>,
    /// What must hold.
    pub(super) invariants: Vec<Invariant>,
    platform: watch::Sender<Option<Platform>>,
    bus: OnceCell<(Recorder, FaultyBus)>,
    /// All faults are over.
    pub(super) is_calm: Cell<bool>,
    pub(super) gateway: Cell<Option<SocketAddr>>,
    started: RefCell<BTreeSet<String>>,
    pub(super) users: Cell<Users>,
    pub(super) at_rest: Cell<bool>,
    /// Where the business is in the end.
    pub(super) state: RefCell<BTreeMap<String, Value>>,
    pub(super) checks: Cell<u64>,
    pub(super) violations: RefCell<Vec<Violation>>,
    began: Instant,
}

/// How far the users are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Users {
    Waiting,
    Busy,
    Done,
}

impl Run {
    pub(super) fn new(
        system: System,
        data: PathBuf,
        disks: BTreeMap<String, Disk>,
        script: Arc<Workload>,
        invariants: Vec<Invariant>,
    ) -> Self {
        Self {
            system,
            data,
            disks,
            script,
            invariants,
            platform: watch::Sender::new(None),
            bus: OnceCell::new(),
            is_calm: Cell::new(false),
            gateway: Cell::new(None),
            started: RefCell::default(),
            users: Cell::new(Users::Waiting),
            at_rest: Cell::new(false),
            state: RefCell::default(),
            checks: Cell::new(0),
            violations: RefCell::default(),
            began: env::instant(),
        }
    }

    /// How much simulated time has passed.
    pub(super) fn elapsed(&self) -> Duration {
        env::instant().saturating_duration_since(self.began)
    }

    /// Gives the other machines the platform, whose bus is `bus`, recorded by `recorder`.
    pub(super) fn share(&self, platform: Platform, recorder: Recorder, bus: FaultyBus) {
        // The hub shares once: it never crashes.
        let _ = self.bus.set((recorder, bus));
        self.platform.send_replace(Some(platform));
    }

    /// All faults are over.
    pub(super) fn calm(&self) {
        self.is_calm.set(true);
    }

    /// From now on the bus has these faults.
    pub(super) fn set_bus(&self, faults: BusFaults) {
        if let Some((_, bus)) = self.bus.get() {
            bus.set(faults);
        }
    }

    /// The names of all machines.
    pub(super) fn machines(&self) -> impl Iterator<Item = &str> {
        let services = self.system.services().iter().map(Service::name);
        services.chain([HUB, GATEWAY, USERS])
    }

    /// How often what had files open has died, on any disk.
    pub(super) fn deaths(&self) -> u64 {
        self.disks.values().map(Disk::deaths).sum()
    }

    /// What was published.
    pub(super) fn recorder(&self) -> Option<&Recorder> {
        self.bus.get().map(|(recorder, _)| recorder)
    }

    /// How many events of each type were published.
    pub(super) fn events(&self) -> BTreeMap<String, u64> {
        self.recorder().map(Recorder::counts).unwrap_or_default()
    }

    /// Waits for the platform.
    pub(super) async fn platform(&self) -> Option<Platform> {
        let mut shared = self.platform.subscribe();
        let platform = shared.wait_for(Option::is_some).await;
        platform.ok().and_then(|platform| platform.clone())
    }

    pub(super) fn started(&self, service: &str) {
        self.started.borrow_mut().insert(service.to_owned());
    }

    /// Waits until every service and the gateway has started for the first time.
    pub(super) async fn all_started(&self) -> SocketAddr {
        loop {
            if let Some(gateway) = self.gateway.get()
                && self.started.borrow().len() == self.system.services().len()
            {
                return gateway;
            }
            env::sleep(10 * TICK).await;
        }
    }

    /// Remembers that something is not as it must be.
    pub(super) fn violated(&self, rule: &str, found: impl Into<String>) {
        let at_ms = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (rule, found) = (rule.to_owned(), found.into());
        tracing::error!(rule, found, "violated");
        self.violations
            .borrow_mut()
            .push(Violation { at_ms, rule, found });
    }
}
