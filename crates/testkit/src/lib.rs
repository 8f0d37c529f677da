//! Testing a system: as a whole in the test's own process, and in a deterministic simulation.
//!
//! | module | subject |
//! |---|---|
//! | [`environment`] | a system, or a part of one, for a test to talk to |
//! | [`disk`] | a disk for databases that loses power, lies, fails and fills up (feature `simulation`) |
//! | [`history`] | what clients saw, and whether a correct system could have shown it |
//! | [`recorder`] | what was published |
//! | [`simulation`] | the whole system under faults, from a seed (feature `simulation`, on by default) |
//!
//! Start at [`TestEnvironment`] for a test of a service, at [`simulation`] for one of the guarantees.

#[cfg(feature = "simulation")]
pub mod disk;
pub mod environment;
pub mod history;
pub mod recorder;
#[cfg(feature = "simulation")]
pub mod simulation;

pub use environment::TestEnvironment;
pub use recorder::Recorder;

/// `docs/guide/simulation.md`, whose code is compiled and run as a test.
#[cfg(all(doctest, feature = "simulation"))]
#[doc = include_str!("../../../docs/guide/simulation.md")]
mod guide {}
