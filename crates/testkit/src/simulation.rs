//! The whole system on simulated time, network and crashes, from a seed.
//!
//! What is guaranteed: the same binary and seed give the same run, event for event (G11); a fault is drawn before the
//! run begins, ends, and after the last one the system must come to rest. The code that runs is the code of
//! production, down to SQLite and the bytes of HTTP; only the [world](env::world) is another.
//!
//! How much goes wrong is said by [`Faults`], a rate for each [`Hazard`]; the faults of a run are its [`Schedule`].
//! Meanwhile the users do what [`System::workload`] says. The invariants that must hold at every instant are checked all
//! along, the others at rest, as is what the platform promises by itself: no message is given up or lost (G2), none takes
//! effect twice (G3), those of one key are handled in order (G4), sagas undo in reverse (G5), streams have no gaps (G6), and nobody calls
//! a service without a token (G10).
//!
//! The databases of each service and of the bus lie on [disks](crate::disk) of their own. A crash is the death of a process: what was in
//! memory is gone, what was written stays. A loss of power also loses what was written and not synced; and a disk may be
//! full, or fail to sync. PostgreSQL, NATS and other servers are not simulated.
//!
//! Start reading at [`Simulation::run`], then [`stage`], which makes a run repeat.
//!
//! | module | subject |
//! |---|---|
//! | [`stage`] | machines on a network, on one deterministic thread |
//! | [`fault`] | what can go wrong |
//! | [`schedule`] | which faults a run has, and when |
//! | [`faulty_bus`] | the faults of the bus |
//! | [`report`] | what a run found |
//! | [`timeline`], [`page`] | what happened in it, for people: as text, as HTML |
//! | [`shrink`](mod@shrink) | the fewest faults that still break it |
//! | [`crash_points`] | a crash at every instant where it makes a difference |
//! | [`seeds`] | many runs, each in a process of its own |
//! | [`interpose`] | time and chance of libraries |

mod broker;
mod clock;
mod connection;
mod crash_point;
pub mod crash_points;
mod error;
mod fate;
pub mod fault;
mod faults;
pub mod faulty_bus;
mod hub;
pub mod interpose;
mod journals;
mod machines;
mod network;
mod oracles;
pub mod page;
mod panics;
mod processes;
mod registry;
pub mod report;
mod run;
pub mod schedule;
pub mod seeds;
mod seen;
pub mod shrink;
mod software;
pub mod stage;
pub mod timeline;
mod trace;
mod weather;
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use outrigger::{Invariant, Service, System, invariant::BUS, system::Workload};

pub use crash_point::{CrashPoint, Phase};
pub use crash_points::{Death, compare, run_crash_points};
pub use error::Error;
pub use fault::Fault;
pub use faults::{Faults, Hazard};
pub use page::Page;
pub use report::{Report, Summary, Violation};
pub use schedule::Schedule;
pub use seeds::{run_seeds, run_seeds_by};
pub use shrink::{Shrunk, shrink};
pub use timeline::Timeline;

use run::{Run, Users};
use stage::Stage;
use weather::Weather;

use crate::disk::Disk;

const HUB: &str = "hub";
const GATEWAY: &str = "gateway";
const USERS: &str = "users";

/// Where databases lie in memory, so that a simulated disk costs no real one; elsewhere where temporary files are.
const MEMORY: &str = "/dev/shm";
/// How long the system may take to start.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long the users may take.
const USERS_LIMIT: Duration = Duration::from_secs(600);

/// A system to be simulated.
///
/// ```no_run
/// # fn system() -> outrigger::System { outrigger::System::new("shop") }
/// use outrigger_testkit::simulation::{Faults, Simulation};
///
/// let report = Simulation::of(system()).seed(42).faults(Faults::storm()).run()?;
/// assert!(report.violations.is_empty(), "{report}");
/// # Ok::<(), outrigger_testkit::simulation::Error>(())
/// ```
pub struct Simulation {
    system: System,
    seed: u64,
    plan: Plan,
    invariants: Vec<Invariant>,
    trace: Option<PathBuf>,
    /// What the users do.
    script: Script,
    crash: Option<CrashPoint>,
    has_timeline: bool,
}

/// What the users do: what the system says of them.
#[derive(Clone, Copy)]
enum Script {
    Workload,
    Rush,
    Scenario,
}

/// Where the faults come from.
enum Plan {
    Drawn(Faults, Option<BTreeSet<usize>>),
    Given(Schedule),
}

impl Simulation {
    /// A simulation of `system`, from seed 0 and through a [storm](Faults::storm) unless it is told otherwise.
    pub fn of(system: System) -> Self {
        Self {
            invariants: system.invariants().to_vec(),
            system,
            seed: 0,
            plan: Plan::Drawn(Faults::storm(), None),
            trace: None,
            script: Script::Workload,
            crash: None,
            has_timeline: false,
        }
    }

    /// What chance and the faults follow from.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How much goes wrong.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.plan = Plan::Drawn(faults, None);
        self
    }

    /// Of the faults that are drawn, only those at these places of the [schedule](Report::schedule) come true.
    #[must_use]
    pub fn only(mut self, places: impl IntoIterator<Item = usize>) -> Self {
        if let Plan::Drawn(_, only) = &mut self.plan {
            *only = Some(places.into_iter().collect());
        }
        self
    }

    /// These faults come, and no others: none is drawn.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.plan = Plan::Given(schedule);
        self
    }

    /// Adds what must hold beside what the system says of itself.
    #[must_use]
    pub fn invariants(mut self, invariants: impl IntoIterator<Item = Invariant>) -> Self {
        self.invariants.extend(invariants);
        self
    }

    /// The users do what [`System::rush`] says.
    #[must_use]
    pub fn rush(mut self) -> Self {
        self.script = Script::Rush;
        self
    }

    /// A machine dies at `crash` and is started again, and nothing else goes wrong; the users do what
    /// [`System::scenario`] says. What [`run_crash_points`] runs.
    #[must_use]
    pub fn crash_at(mut self, crash: CrashPoint) -> Self {
        self.plan = Plan::Given(Schedule::default());
        self.script = Script::Scenario;
        self.crash = Some(crash);
        self
    }

    /// Writes the trace to `file` as text, a line for each entry, to see where two runs part.
    #[must_use]
    pub fn trace_to(mut self, file: impl Into<PathBuf>) -> Self {
        self.trace = Some(file.into());
        self
    }

    /// Keeps a [timeline](Report::timeline) of the run, for people. It changes nothing in the run.
    #[must_use]
    pub fn timeline(mut self) -> Self {
        self.has_timeline = true;
        self
    }

    /// Runs the system.
    ///
    /// A process should do so once: some counters of libraries are global, and the second run would begin with other
    /// values. [`run_seeds`] sees to that.
    ///
    /// # Errors
    /// [`Error`]: the simulation could not be run. What it found wrong is in the report.
    pub fn run(&self) -> Result<Report, Error> {
        let broken = self.system.violations();
        if !broken.is_empty() {
            return Err(outrigger::Error::Invalid(broken).into());
        }
        let (script, missing) = match self.script {
            Script::Workload => (self.system.users(), "workload"),
            Script::Rush => (self.system.many_users(), "rush"),
            Script::Scenario => (self.system.script(), "scenario"),
        };
        let script = script.ok_or_else(|| Error::NoWorkload {
            system: self.system.name().to_owned(),
            missing,
        })?;
        let mut folder = tempfile::Builder::new();
        let folder = folder.prefix("outrigger-simulation-");
        let folder = if Path::new(MEMORY).is_dir() {
            folder.tempdir_in(MEMORY)
        } else {
            folder.tempdir()
        };
        let folder = folder.map_err(Error::Folder)?;
        Stage::play(self.seed, self.trace.as_deref(), |stage| {
            let disks = self.disks()?;
            self.play(folder.path(), disks, script, stage)
        })?
    }

    /// A disk for each service, and one for the bus. What a loss of power leaves is drawn anew for each crash point.
    fn disks(&self) -> Result<BTreeMap<String, Disk>, Error> {
        let effect = self.crash.map_or(0, |crash| crash.effect);
        let first = self.seed ^ effect.rotate_left(u32::BITS);
        let services = self.system.services().iter().map(Service::name);
        let names = services.chain([BUS]);
        names
            .zip(first..)
            .map(|(name, seed)| Ok((name.to_owned(), Disk::new(seed)?)))
            .collect()
    }

    fn play(
        &self,
        data: &Path,
        disks: BTreeMap<String, Disk>,
        script: Arc<Workload>,
        stage: &mut Stage,
    ) -> Result<Report, Error> {
        if self.has_timeline {
            stage.keep_timeline();
        }
        let schedule = self.draw()?;
        for fault in &schedule.faults {
            stage.note(fault);
        }
        for (name, disk) in &disks {
            stage.set_disk(name, disk.clone());
        }
        let run = Run::new(
            self.system.clone(),
            data.to_owned(),
            disks,
            script,
            self.invariants.clone(),
            stage.seen(),
        );
        let run = Rc::new(run);
        add_machines(stage, &run);
        let mut weather = Weather::of(&schedule, self.crash, stage);
        while !is_over(&run) {
            if let Err(failure) = stage.step() {
                run.violated("every machine runs on", failure);
            }
            for panic in stage.take_panics() {
                run.violated("nothing panics", panic);
            }
            weather.pass(stage, &run);
        }
        for disk in run.disks.values() {
            run.seen.reach_often("disk full", disk.refused_writes());
            run.seen.reach_often("sync failed", disk.failed_syncs());
        }
        Ok(Report {
            seed: self.seed,
            trace_hash: stage.trace_hash(),
            violations: run.violations.take(),
            users_began: weather.began().unwrap_or_default(),
            simulated: stage.elapsed(),
            events: run.events(),
            reached: run.seen.reached(),
            checks: run.checks.get(),
            effects: stage.effects(),
            struck: stage.struck(),
            state: run.state.take(),
            trace_entries: stage.trace_entries(),
            schedule,
            timeline: stage.take_timeline(),
        })
    }

    /// The same number of draws whichever faults then come true: so runs that differ in them alone begin alike.
    fn draw(&self) -> Result<Schedule, Error> {
        let (faults, only) = match &self.plan {
            Plan::Given(schedule) => return Ok(schedule.clone()),
            Plan::Drawn(faults, only) => (faults, only),
        };
        let drawn = Schedule::draw(&self.system, faults);
        let Some(places) = only else {
            return Ok(drawn);
        };
        let count = drawn.faults.len();
        match places.last() {
            Some(&place) if place >= count => Err(Error::NoFault { place, count }),
            _ => Ok(drawn.only(places)),
        }
    }
}

/// What was found wrong ends a run too: all that follows may only follow from it.
fn is_over(run: &Run) -> bool {
    match run.users.get() {
        Users::Waiting if run.elapsed() > START_LIMIT => {
            let failed = run.failed_starts();
            run.violated(
                "the system starts",
                format!("not within {START_LIMIT:?}{failed}"),
            );
        }
        Users::Busy if run.elapsed() > USERS_LIMIT => {
            run.violated(
                "the users come to an end",
                format!("not within {USERS_LIMIT:?}"),
            );
        }
        _ => {} // whether it comes to rest, the hub sees
    }
    run.at_rest.get() || !run.violations.borrow().is_empty()
}

fn add_machines(stage: &mut Stage, run: &Rc<Run>) {
    let shared = Rc::clone(run);
    stage.machine(HUB, move || hub::hub(Rc::clone(&shared)));
    for service in run.system.services() {
        let (shared, name) = (Rc::clone(run), Rc::<str>::from(service.name()));
        stage.machine(service.name(), move || {
            software::service(Rc::clone(&shared), Rc::clone(&name))
        });
    }
    let shared = Rc::clone(run);
    stage.machine(GATEWAY, move || software::gateway(Rc::clone(&shared)));
    let shared = Rc::clone(run);
    stage.machine(USERS, move || software::users(Rc::clone(&shared)));
}
