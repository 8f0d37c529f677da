//! Many seeds, each in a process of its own.

use std::{collections::BTreeMap, ops::Range, process::Command};

use serde::Deserialize;
use serde_json::Value;

use super::{
    Error,
    processes::{self, reported},
    report::{Failed, Summary, Violation},
};

/// Every so many seeds, one is run twice: both runs must have the same trace.
const REPEATED: u64 = 25;

/// Runs `seeds` by `simulate --seed N --output json` of this executable with these `arguments`, as many at once as
/// there are cores, and tells `progress` of each that ends.
///
/// # Errors
/// [`Error::Spawn`].
pub fn run_seeds(
    seeds: Range<u64>,
    arguments: &[&str],
    progress: impl FnMut(&Finished),
) -> Result<Summary, Error> {
    let simulate = |seed: u64| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["simulate", "--seed", &seed.to_string(), "--output", "json"]);
        command.arg("--no-shrink").args(arguments);
        Ok(command)
    };
    run_seeds_by(seeds, processes::cores(), simulate, progress)
}

/// Runs `seeds` by `command`, at most `jobs` at once. The process prints a [`Report`](super::Report) as JSON.
///
/// # Errors
/// [`Error::Spawn`].
pub fn run_seeds_by(
    seeds: Range<u64>,
    jobs: usize,
    command: impl Fn(u64) -> std::io::Result<Command> + Sync,
    mut progress: impl FnMut(&Finished),
) -> Result<Summary, Error> {
    let started = env::instant();
    let mut summary = Summary::default();
    let work = |seed| run_one(seed, &command);
    processes::each(seeds, jobs, work, |finished| {
        progress(&finished);
        summary.add(finished);
    })?;
    summary.failed.sort_by_key(|failed| failed.seed);
    let seconds = (env::instant() - started).as_secs_f64();
    summary.seeds_per_second = summary.seeds as f64 / seconds.max(f64::EPSILON);
    Ok(summary)
}

/// A seed whose process has ended.
#[derive(Debug)]
pub struct Finished {
    seed: u64,
    repeated: bool,
    outcome: Result<Outcome, Failed>,
}

impl Finished {
    /// Whether something was wrong.
    pub fn failed(&self) -> bool {
        self.outcome.is_err()
    }
}

#[derive(Debug)]
struct Outcome {
    report: Value,
    read: Reported,
}

/// What is read of a report here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reported {
    trace_hash: String,
    violations: Vec<Violation>,
    events: BTreeMap<String, u64>,
    reached: BTreeMap<String, u64>,
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.outcome {
            Ok(_) => write!(f, "seed {}: all invariants hold", self.seed),
            Err(failed) => write!(f, "{failed}"),
        }
    }
}

impl Summary {
    fn add(&mut self, finished: Finished) {
        self.seeds += 1;
        self.repeated += u64::from(finished.repeated);
        match finished.outcome {
            Ok(outcome) => {
                add(&mut self.events, outcome.read.events);
                add(&mut self.reached, outcome.read.reached);
            }
            Err(failed) => self.failed.push(failed),
        }
    }
}

fn add(sums: &mut BTreeMap<String, u64>, counts: BTreeMap<String, u64>) {
    for (name, count) in counts {
        *sums.entry(name).or_default() += count;
    }
}

type MakeCommand<'a> = &'a (dyn Fn(u64) -> std::io::Result<Command> + Sync);

fn run_one(seed: u64, command: MakeCommand<'_>) -> Result<Finished, Error> {
    let mut outcome = run_process(seed, command)?;
    let repeated = outcome.is_ok() && seed.is_multiple_of(REPEATED);
    if repeated && let Ok(first) = &outcome {
        let again = run_process(seed, command)?;
        let same = again.is_ok_and(|again| again.read.trace_hash == first.read.trace_hash);
        if !same {
            let reason = "a second run of the same seed was another run (G11)".to_owned();
            let report = first.report.clone();
            outcome = Err(Failed {
                seed,
                reason,
                report,
            });
        }
    }
    Ok(Finished {
        seed,
        repeated,
        outcome,
    })
}

fn run_process(seed: u64, command: MakeCommand<'_>) -> Result<Result<Outcome, Failed>, Error> {
    let spawn = |source| Error::Spawn {
        what: format!("seed {seed}"),
        source,
    };
    let mut command = command(seed).map_err(spawn)?;
    let output = processes::output(&mut command).map_err(spawn)?;
    let (reason, report) = match reported::<Reported>(&output) {
        Ok((read, report)) if read.violations.is_empty() && output.status.success() => {
            return Ok(Ok(Outcome { report, read }));
        }
        Ok((read, report)) => {
            let found: Vec<_> = read.violations.iter().map(ToString::to_string).collect();
            (found.join("; "), report)
        }
        Err(reason) => (reason, Value::Null),
    };
    Ok(Err(Failed {
        seed,
        reason,
        report,
    }))
}
