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
use identity::Keyring;
use outrigger::{Invariant, Platform, Service, Settings, System, system::Workload};
use serde_json::Value;
use tokio::sync::watch;

use super::{
    BUS, GATEWAY, HUB, USERS,
    broker::Broker,
    faulty_bus::{BusFaults, FaultyBus},
    registry::FaultyRegistry,
    report::Violation,
    seen::Seen,
    stage::TICK,
};
use crate::{Recorder, disk::Disk};

pub(super) struct Run {
    pub(super) system: System,
    /// The folder of the databases: what survives a crash.
    pub(super) data: PathBuf,
    /// The disk of each service, and that of the bus.
    pub(super) disks: BTreeMap<String, Disk>,
    /// What its users do.
    pub(super) script: Arc<Workload>,
    /// What must hold.
    pub(super) invariants: Vec<Invariant>,
    shared: OnceCell<Shared>,
    is_shared: watch::Sender<bool>,
    pub(super) seen: Seen,
    /// All faults are over.
    pub(super) is_calm: Cell<bool>,
    pub(super) gateway: Cell<Option<SocketAddr>>,
    started: RefCell<BTreeSet<String>>,
    /// Why machines could not start when they last tried.
    failed: RefCell<BTreeMap<String, String>>,
    pub(super) users: Cell<Users>,
    pub(super) at_rest: Cell<bool>,
    /// Where the business is in the end.
    pub(super) state: RefCell<BTreeMap<String, Value>>,
    pub(super) checks: Cell<u64>,
    pub(super) violations: RefCell<Vec<Violation>>,
    began: Instant,
}

/// What the hub has for all machines.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) broker: Broker,
    pub(super) recorder: Recorder,
    pub(super) bus: FaultyBus,
    pub(super) registry: FaultyRegistry,
    pub(super) keyring: Keyring,
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
        seen: Seen,
    ) -> Self {
        Self {
            system,
            data,
            disks,
            script,
            invariants,
            seen,
            shared: OnceCell::new(),
            is_shared: watch::Sender::new(false),
            is_calm: Cell::new(false),
            gateway: Cell::new(None),
            started: RefCell::default(),
            failed: RefCell::default(),
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

    /// Gives the other machines what they share.
    pub(super) fn share(&self, shared: Shared) {
        // The hub shares once: it never crashes.
        let _ = self.shared.set(shared);
        self.is_shared.send_replace(true);
    }

    /// What the hub has shared, once it has.
    pub(super) fn shared(&self) -> Option<&Shared> {
        self.shared.get()
    }

    /// All faults are over.
    pub(super) fn calm(&self) {
        self.is_calm.set(true);
    }

    /// From now on the bus has these faults, these machines cannot reach it, and the registry is away or not.
    pub(super) fn set_shared_faults(
        &self,
        faults: BusFaults,
        cut_off: BTreeSet<String>,
        no_registry: bool,
    ) {
        if let Some(shared) = self.shared() {
            shared.bus.set(faults);
            shared.bus.cut_off(cut_off);
            shared.registry.set_down(no_registry);
        }
    }

    /// Kills the bus.
    pub(super) fn kill_bus(&self, loses_power: bool) {
        // Before the process ends: one that ends closes its database, and closing one syncs it.
        match self.disks.get(BUS) {
            Some(disk) if loses_power => disk.power_loss(),
            Some(disk) => disk.process_death(),
            None => {}
        }
        if let Some(shared) = self.shared() {
            shared.broker.kill();
            self.seen.reach("bus died");
        }
    }

    /// Starts the bus again.
    pub(super) fn revive_bus(&self) {
        if let Some(shared) = self.shared() {
            shared.broker.revive();
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
        self.shared().map(|shared| &shared.recorder)
    }

    /// How many events of each type were published.
    pub(super) fn events(&self) -> BTreeMap<String, u64> {
        self.recorder().map(Recorder::counts).unwrap_or_default()
    }

    /// Waits for the platform of `machine`.
    pub(super) async fn platform(&self, machine: &str) -> Option<Platform> {
        let mut is_shared = self.is_shared.subscribe();
        is_shared.wait_for(|is| *is).await.ok()?;
        let shared = self.shared()?;
        Some(Platform::new(
            shared.settings.clone(),
            Arc::new(shared.bus.client(machine)),
            Arc::new(shared.registry.clone()),
            shared.keyring.clone(),
        ))
    }

    /// A machine could not start, and will try again.
    pub(super) fn failed(&self, machine: &str, error: &outrigger::Error) {
        let error = env::chain(error);
        tracing::warn!(machine, error, "cannot start yet");
        self.failed.borrow_mut().insert(machine.to_owned(), error);
    }

    /// Why those machines could not start that have tried, in words that follow others.
    pub(super) fn failed_starts(&self) -> String {
        let failed = self.failed.borrow();
        let words = failed
            .iter()
            .map(|(machine, error)| format!("; {machine}: {error}"));
        words.collect()
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
            env::sleep(2 * TICK).await;
        }
    }

    /// Remembers that something is not as it must be.
    pub(super) fn violated(&self, rule: &str, found: impl Into<String>) {
        let found = found.into();
        tracing::error!(rule, found, "violated");
        let violation = Violation::new(self.elapsed(), rule, found);
        self.violations.borrow_mut().push(violation);
    }
}
