//! `simulate`: the whole system on simulated time, network and crashes, from a seed.

use std::process::ExitCode;

use clap::Args;
use outrigger::System;
use testkit::simulation::{self, Simulation};

use crate::{Error, Global, Output, note, say};

/// Run the system in a deterministic simulation
#[derive(Args)]
#[command(after_help = "Examples:\n  shop simulate --seed 42\n  shop simulate --seeds 100")]
pub(crate) struct Simulate {
    /// Run this one seed
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,

    /// Run this many seeds, each in a process of its own
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    seeds: u64,

    /// The first of them
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
}

impl Simulate {
    pub(crate) fn run(self, system: System, global: &Global) -> Result<ExitCode, Error> {
        match self.seed {
            Some(seed) => one(system, seed, global.output),
            None => many(self.from..self.from + self.seeds, global.output),
        }
    }
}

fn one(system: System, seed: u64, output: Output) -> Result<ExitCode, Error> {
    let report = Simulation::new(system).run(seed)?;
    match output {
        Output::Json => say(serde_json::to_string(&report).unwrap_or_default()),
        Output::Human => say(&report),
    }
    Ok(if report.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn many(seeds: std::ops::Range<u64>, output: Output) -> Result<ExitCode, Error> {
    let summary = simulation::run_seeds(seeds, |done| note(done))?;
    match output {
        Output::Json => say(serde_json::to_string(&summary).unwrap_or_default()),
        Output::Human => say(&summary),
    }
    Ok(if summary.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
