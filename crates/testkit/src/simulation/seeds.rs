//! Many seeds, each in a process of its own.

use std::{
    collections::VecDeque,
    ops::Range,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError, mpsc},
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    Error,
    report::{Failed, Summary, Violation},
};

/// Every so many seeds, one is run twice: both runs must have the same trace.
const REPEATED: u64 = 25;
/// How much of what a process that failed said is shown, in bytes.
const SAID: usize = 2_000;

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
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let simulate = |seed: u64| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["simulate", "--seed", &seed.to_string(), "--output", "json"]);
        command.args(arguments);
        Ok(command)
    };
    run_seeds_by(seeds, jobs, simulate, progress)
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
    let waiting = Mutex::new(seeds.collect::<VecDeque<_>>());
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let (sender, finished) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (sender, command) = (sender.clone(), &command);
            scope.spawn(move || {
                while let Some(seed) = next() {
                    if sender.send(run_one(seed, command)).is_err() {
                        break; // whoever asked has seen enough
                    }
                }
            });
        }
        drop(sender);
        for finished in finished {
            let finished = finished?;
            progress(&finished);
            summary.add(finished);
        }
        Ok::<_, Error>(())
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
    events: std::collections::BTreeMap<String, u64>,
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
                for (kind, count) in outcome.read.events {
                    *self.events.entry(kind).or_default() += count;
                }
            }
            Err(failed) => self.failed.push(failed),
        }
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
    let failed = |source| Error::Spawn { seed, source };
    let mut command = command(seed).map_err(failed)?;
    let output = command.stdin(Stdio::null()).output().map_err(failed)?;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let reason = match Reported::deserialize(&report) {
        Ok(read) if read.violations.is_empty() && output.status.success() => {
            return Ok(Ok(Outcome { report, read }));
        }
        Ok(read) => {
            let found: Vec<_> = read.violations.iter().map(ToString::to_string).collect();
            found.join("; ")
        }
        Err(_) => {
            let said = &output.stderr[output.stderr.len().saturating_sub(SAID)..];
            let said = String::from_utf8_lossy(said);
            format!(
                "its process ended with {} and no report: {}",
                output.status,
                said.trim()
            )
        }
    };
    Ok(Err(Failed {
        seed,
        reason,
        report,
    }))
}
