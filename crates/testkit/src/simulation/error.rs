//! Why a simulation could not be run. What it found wrong with the system is in its report.

use std::{io, path::PathBuf};

use super::crash_point::CrashPoint;

/// Why a simulation could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system has no users: nothing would happen.
    #[error("nothing says what users do with {system}; add `.{missing}(..)` to its description")]
    NoWorkload {
        /// The system.
        system: String,
        /// What its description lacks.
        missing: &'static str,
    },
    /// Of a schedule, a fault was asked for that it does not have.
    #[error("this seed has no fault at place {place}: its schedule has {count}, counted from 0")]
    NoFault {
        /// The place.
        place: usize,
        /// How many faults the schedule has.
        count: usize,
    },
    /// The parts that the services share could not be made.
    #[error("the simulated platform cannot start")]
    Platform(#[source] env::BoxError),
    /// The description of the system cannot be started at all.
    #[error(transparent)]
    System(#[from] outrigger::Error),
    /// The trace cannot be written.
    #[error("cannot write the trace to {}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The folder of the databases cannot be made.
    #[error("cannot make a temporary folder; is the disk full?")]
    Folder(#[source] io::Error),
    /// SQLite does not take the simulated disks.
    #[error(transparent)]
    Disk(#[from] crate::disk::Error),
    /// The thread of the simulation did not start.
    #[error("cannot start a thread; is the system out of them?")]
    Thread(#[source] io::Error),
    /// The logs cannot be traced.
    #[error("cannot trace the logs")]
    Logging(#[source] telemetry::Error),
    /// The C library answers in place of the simulation, so nothing would repeat.
    #[error(
        "the simulation's clock is not in force in this binary; link it without options that prefer shared libraries"
    )]
    NotInForce,
    /// The scenario fails without any crash.
    #[error("the scenario fails without a crash, so crashes would show nothing: {reason}")]
    Scenario {
        /// What is wrong.
        reason: String,
    },
    /// The system has no state by which a run with a crash could be compared to one without.
    #[error(
        "nothing says where the business is in the end, which is what a crash must not change; add `.state(..)` to the description of the system (or run one crash with --no-compare)"
    )]
    NoState,
    /// The run ended before it came to the crash point.
    #[error(
        "nothing died at crash point {point}: the scenario has {effects} effects, counted from 1"
    )]
    NotStruck {
        /// The crash point.
        point: CrashPoint,
        /// How many effects the run had.
        effects: u64,
    },
    /// A process could not be started.
    #[error("cannot start the process that simulates {what}")]
    Spawn {
        /// The seed, or the crash.
        what: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}
