//! `simulate`: the whole system on simulated time, network and crashes, from a seed.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use outrigger::System;
use testkit::simulation::{self, Faults, Simulation};

use crate::{Error, Global, Output, note, say};

/// Run the system in a deterministic simulation
#[derive(Args)]
#[command(after_help = "Examples:\n  shop simulate --seed 42\n  shop simulate --seeds 100")]
pub(crate) struct Simulate {
    /// Run this one seed
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,

    /// Of its faults, only those at these places of its schedule
    #[arg(long, value_name = "PLACES", value_delimiter = ',', requires = "seed")]
    only: Option<Vec<usize>>,

    /// Run this many seeds, each in a process of its own
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    seeds: u64,

    /// The first of them
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,

    /// How much goes wrong
    #[arg(long, value_enum, default_value_t = Weather::Storm)]
    faults: Weather,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Weather {
    /// Nothing
    None,
    /// A crash, a link that fails, messages that take their time
    Breeze,
    /// Everything that there is
    Storm,
}

impl Weather {
    fn faults(self) -> Faults {
        match self {
            Self::None => Faults::none(),
            Self::Breeze => Faults::breeze(),
            Self::Storm => Faults::storm(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Breeze => "breeze",
            Self::Storm => "storm",
        }
    }
}

impl Simulate {
    pub(crate) fn run(self, system: System, global: &Global) -> Result<ExitCode, Error> {
        match self.seed {
            Some(seed) => self.one(system, seed, global.output),
            None => self.many(global.output),
        }
    }

    fn one(self, system: System, seed: u64, output: Output) -> Result<ExitCode, Error> {
        let mut simulation = Simulation::of(system)
            .seed(seed)
            .faults(self.faults.faults());
        if let Some(places) = self.only {
            simulation = simulation.only(places);
        }
        let report = simulation.run()?;
        match output {
            Output::Json => say(serde_json::to_string(&report).unwrap_or_default()),
            Output::Human => say(&report),
        }
        Ok(code(report.violations.is_empty()))
    }

    fn many(&self, output: Output) -> Result<ExitCode, Error> {
        let seeds = self.from..self.from + self.seeds;
        let faults = ["--faults", self.faults.name()];
        let summary = simulation::run_seeds(seeds, &faults, |done| note(done))?;
        match output {
            Output::Json => say(serde_json::to_string(&summary).unwrap_or_default()),
            Output::Human => say(&summary),
        }
        Ok(code(summary.failed.is_empty()))
    }
}

fn code(is_well: bool) -> ExitCode {
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
