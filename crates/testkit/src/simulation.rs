//! The whole system on simulated time, network and crashes, from a seed.
//!
//! What is guaranteed: the same binary and seed give the same run, event for event (G11); a fault is drawn before the
//! run begins, ends, and after the last one the system must come to rest. The code that runs is the code of
//! production, down to SQLite and the bytes of HTTP; only the [world](env::world) is another.
//!
//! Every run has a crash and restart of the service that depends on the most others, a partition, delays, and a bus
//! that loses acknowledgements and does not always answer; most have more ([`Schedule`]). Meanwhile the users do what
//! [`System::workload`] says. The invariants that must hold at every instant are checked all along, the others at
//! rest, as is what the platform promises by itself: no message is given up, and none takes effect twice (G3).
//!
//! A crash is the death of a process: what was in memory is gone, what was written stays. A loss of power, which
//! also loses what was written and not synced, is not simulated; nor are PostgreSQL, NATS or any other server.
//!
//! Start reading at [`Simulation::run`], then [`stage`], which makes a run repeat.
//!
//! | module | subject |
//! |---|---|
//! | [`stage`] | machines on a network, on one deterministic thread |
//! | [`schedule`] | which faults there are, and when |
//! | [`faulty_bus`] | the faults of the bus |
//! | [`report`] | what a run found |
//! | [`seeds`] | many runs, each in a process of its own |
//! | [`interpose`] | time and chance of libraries |

mod clock;
mod connection;
mod error;
pub mod faulty_bus;
mod hub;
pub mod interpose;
mod machines;
mod panics;
pub mod report;
mod run;
pub mod schedule;
pub mod seeds;
mod software;
pub mod stage;
mod trace;
mod world;

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use outrigger::{Service, System};

pub use error::Error;
pub use report::{Report, Summary, Violation};
pub use schedule::Schedule;
pub use seeds::{run_seeds, run_seeds_by};

use run::{Run, Users};
use schedule::{Fault, Kind};
use stage::Stage;

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
/// use outrigger_testkit::simulation::Simulation;
///
/// let report = Simulation::new(system()).run(42)?;
/// assert!(report.violations.is_empty(), "{report}");
/// # Ok::<(), outrigger_testkit::simulation::Error>(())
/// ```
pub struct Simulation {
    system: System,
    trace: Option<PathBuf>,
}

impl Simulation {
    /// A simulation of `system`.
    pub fn new(system: System) -> Self {
        Self {
            system,
            trace: None,
        }
    }

    /// Writes the trace to `file` as text, a line for each entry, to see where two runs part.
    #[must_use]
    pub fn trace_to(mut self, file: impl Into<PathBuf>) -> Self {
        self.trace = Some(file.into());
        self
    }

    /// Runs the system from `seed`.
    ///
    /// A process should do so once: some counters of libraries are global, and the second run would begin with other
    /// values. [`run_seeds`] sees to that.
    ///
    /// # Errors
    /// [`Error`]: the simulation could not be run. What it found wrong is in the report.
    pub fn run(&self, seed: u64) -> Result<Report, Error> {
        if self.system.users().is_none() {
            return Err(Error::NoWorkload {
                system: self.system.name().to_owned(),
            });
        }
        let mut folder = tempfile::Builder::new();
        let folder = folder.prefix("outrigger-simulation-");
        let folder = if Path::new(MEMORY).is_dir() {
            folder.tempdir_in(MEMORY)
        } else {
            folder.tempdir()
        };
        let folder = folder.map_err(Error::Folder)?;
        let data = folder.path().to_owned();
        Stage::play(seed, self.trace.as_deref(), |stage| {
            play(seed, self.system.clone(), data, stage)
        })
    }
}

fn play(seed: u64, system: System, data: PathBuf, stage: &mut Stage) -> Report {
    let schedule = draw(&system);
    stage.set_latency(Duration::from_millis(schedule.latency_ms_max));
    for fault in &schedule.faults {
        stage.note(fault);
    }
    let run = Rc::new(Run::new(system, data, schedule));
    add_machines(stage, &run);
    let mut faults = Faults::of(&run.schedule);
    while !is_over(&run) {
        if let Err(failure) = stage.step() {
            run.violated("every machine runs on", failure);
        }
        for panic in stage.take_panics() {
            run.violated("nothing panics", panic);
        }
        faults.pass(stage, &run);
    }
    Report {
        seed,
        trace_hash: stage.trace_hash(),
        violations: run.violations.take(),
        simulated: stage.elapsed(),
        events: run.events(),
        checks: run.checks.get(),
        trace_entries: stage.trace_entries(),
        schedule: run.schedule.clone(),
    }
}

/// What was found wrong ends a run too: all that follows may only follow from it.
fn is_over(run: &Run) -> bool {
    let limit = match run.users.get() {
        Users::Waiting => START_LIMIT,
        Users::Busy => USERS_LIMIT,
        Users::Done => Duration::MAX, // the hub sees to that
    };
    if run.elapsed() > limit {
        run.violated("the users come to an end", format!("not within {limit:?}"));
    }
    run.at_rest.get() || !run.violations.borrow().is_empty()
}

fn draw(system: &System) -> Schedule {
    let services: Vec<_> = system
        .services()
        .iter()
        .map(|service| service.name().to_owned())
        .collect();
    let dependencies = |service: &&Service| service.declared_boundary().depends_on.len();
    let first = system
        .services()
        .iter()
        .max_by_key(dependencies)
        .map_or("", Service::name);
    let mut links = Vec::new();
    for service in system.services() {
        links.push((GATEWAY.to_owned(), service.name().to_owned()));
        for called in &service.declared_boundary().depends_on {
            links.push((service.name().to_owned(), called.clone()));
        }
    }
    Schedule::draw(first, &services, links)
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

/// The faults that are still to come, and those that last.
struct Faults {
    coming: Vec<Fault>,
    lasting: Vec<Fault>,
    /// When the users began.
    began: Option<Duration>,
}

impl Faults {
    fn of(schedule: &Schedule) -> Self {
        Self {
            coming: schedule.faults.clone(),
            lasting: Vec::new(),
            began: None,
        }
    }

    /// Begins and ends what is due.
    fn pass(&mut self, stage: &mut Stage, run: &Run) {
        if run.users.get() == Users::Waiting {
            return;
        }
        let passed = stage.elapsed() - *self.began.get_or_insert(stage.elapsed());
        for fault in self.lasting.extract_if(.., |fault| fault.until <= passed) {
            stage.note(format_args!("over: {fault}"));
            match &fault.kind {
                Kind::Crash(machine) => stage.restart(machine),
                Kind::Partition(a, b) => stage.repair(a, b),
                Kind::Delay(a, b) => stage.release(a, b),
            }
        }
        for fault in self.coming.extract_if(.., |fault| fault.from <= passed) {
            stage.note(&fault);
            match &fault.kind {
                Kind::Crash(machine) => stage.crash(machine),
                Kind::Partition(a, b) => stage.partition(a, b),
                Kind::Delay(a, b) => stage.hold(a, b),
            }
            self.lasting.push(fault);
        }
        if passed >= schedule::CALM {
            run.calm();
        }
    }
}
