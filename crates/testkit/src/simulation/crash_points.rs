//! Every crash point of a scenario, one run each: a kill just before and just after each commit, each publishing and
//! each acknowledgement, or a loss of power before, amid and after it; and in the end the same state as without.
//!
//! It is not chance that finds the one instant between two writes that nobody thought of: all of them are gone through.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, process::Command};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Error,
    crash_point::{CrashPoint, Phase},
    processes::{self, reported},
    report::{Report, Violation},
};

/// What happens at each crash point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// A process is killed: what it wrote stays.
    Kill,
    /// A machine loses its power: what it had not synced is kept, torn or lost.
    PowerLoss,
}

impl Death {
    fn points(self, effect: u64) -> impl Iterator<Item = CrashPoint> {
        let (phases, is_powerless): (&[Phase], _) = match self {
            Self::Kill => (&[Phase::Before, Phase::After], false),
            Self::PowerLoss => (&[Phase::Before, Phase::Amid, Phase::After], true),
        };
        phases.iter().map(move |&phase| CrashPoint {
            effect,
            phase,
            is_powerless,
        })
    }
}

/// What the runs of all crash points found.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CrashPoints {
    /// How many effects the scenario has without a crash.
    pub effects: u64,
    /// How many runs there were with one.
    pub runs: u64,
    /// How many of them struck something: a scenario can end sooner than without a crash.
    pub struck: u64,
    /// The crashes that the system did not get over, in order.
    pub failed: Vec<Failure>,
}

/// A crash that the system did not get over.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Where.
    pub crash_point: CrashPoint,
    /// What died there.
    pub struck: Option<String>,
    /// What was wrong then.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let struck = self.struck.as_deref().unwrap_or("nothing died");
        write!(
            f,
            "crash point {}: {struck}: {}",
            self.crash_point, self.reason
        )
    }
}

impl fmt::Display for CrashPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failed {
            writeln!(f, "{failure}")?;
        }
        let (effects, runs, struck) = (self.effects, self.runs, self.struck);
        write!(
            f,
            "{effects} effects, {runs} runs, {struck} of them with a crash, {} failed",
            self.failed.len()
        )
    }
}

/// Runs every crash point of `seed` by `simulate --seed N --crash-at POINT --no-compare --output json` of this executable,
/// as many at once as there are cores, and tells `progress` how many of how many are done.
///
/// # Errors
/// As [`run_crash_points_by`].
pub fn run_crash_points(
    seed: u64,
    death: Death,
    progress: impl FnMut(u64, u64),
) -> Result<CrashPoints, Error> {
    let command = |crash| by_this_executable(seed, crash);
    run_crash_points_by(1..=u64::MAX, death, processes::cores(), command, progress)
}

/// Adds to `report`, which is of a run with the crash at `point`, what is not as it is without a crash: as
/// [`run_crash_points`] looks at each of its runs, and by the same command.
///
/// # Errors
/// [`Error::NotStruck`]; as [`run_crash_points_by`].
pub fn compare(report: &mut Report, point: CrashPoint) -> Result<(), Error> {
    let seed = report.seed;
    compare_by(report, point, |crash| by_this_executable(seed, crash))
}

/// The same, by `command`.
///
/// # Errors
/// As [`compare`].
pub fn compare_by(
    report: &mut Report,
    point: CrashPoint,
    command: impl Fn(CrashPoint) -> std::io::Result<Command> + Sync,
) -> Result<(), Error> {
    if !report.violations.is_empty() {
        return Ok(()); // it went no further than that
    }
    if report.struck.is_none() {
        let effects = report.effects;
        return Err(Error::NotStruck { point, effects });
    }
    let without = run_without(&command)?;
    // As text, for so is that of the other process: a number may be another then, in its last digit.
    let text = serde_json::to_string(&report.state).unwrap_or_default();
    let state: State = serde_json::from_str(&text).unwrap_or_default();
    if let Err(found) = same_state(&state, &without.state) {
        let violation = Violation::new(report.simulated, "it ends as without a crash", found);
        report.violations.push(violation);
    }
    Ok(())
}

fn by_this_executable(seed: u64, crash: CrashPoint) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["simulate", "--no-compare", "--output", "json"]);
    command.args(["--seed", &seed.to_string()]);
    command.args(["--crash-at", &crash.to_string()]);
    Ok(command)
}

/// The crash point that never comes: its run is the one without a crash.
pub const NEVER: CrashPoint = CrashPoint {
    effect: 0,
    phase: Phase::Before,
    is_powerless: false,
};

/// Runs the crash points of these `effects`, as far as there are so many, by `command`, at most `jobs` at once. The
/// process prints a [`Report`] as JSON; that of [`NEVER`] is what the others are compared to.
///
/// # Errors
/// [`Error::Spawn`]; [`Error::Scenario`] when the run without a crash fails, [`Error::NoState`] when there is nothing in it
/// to compare.
pub fn run_crash_points_by(
    effects: RangeInclusive<u64>,
    death: Death,
    jobs: usize,
    command: impl Fn(CrashPoint) -> std::io::Result<Command> + Sync,
    mut progress: impl FnMut(u64, u64),
) -> Result<CrashPoints, Error> {
    let without = run_without(&command)?;
    let last = without.effects.min(*effects.end());
    let points: Vec<_> = (*effects.start()..=last)
        .flat_map(|effect| death.points(effect))
        .collect();
    let all = points.len() as u64;
    let mut found = CrashPoints {
        effects: without.effects,
        ..CrashPoints::default()
    };
    let work = |point| Ok((point, run(point, &command)?));
    processes::each(points, jobs, work, |(crash_point, outcome)| {
        found.runs += 1;
        let struck = outcome.as_ref().ok().and_then(|run| run.struck.clone());
        found.struck += u64::from(struck.is_some());
        if let Err(reason) = outcome.and_then(|run| run.same_as(&without)) {
            found.failed.push(Failure {
                crash_point,
                struck,
                reason,
            });
        }
        progress(found.runs, all);
    })?;
    found.failed.sort_by_key(|failure| failure.crash_point);
    Ok(found)
}

/// What is read of a report here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    violations: Vec<Violation>,
    effects: u64,
    struck: Option<String>,
    state: BTreeMap<String, Value>,
}

/// The run without a crash, which must be sound.
fn run_without(
    command: &(impl Fn(CrashPoint) -> std::io::Result<Command> + Sync),
) -> Result<Run, Error> {
    let scenario = |reason| Error::Scenario { reason };
    let run = run(NEVER, command)?.map_err(scenario)?;
    run.sound().map_err(scenario)?;
    match run.state.is_empty() {
        true => Err(Error::NoState),
        false => Ok(run),
    }
}

fn run(
    crash: CrashPoint,
    command: &(impl Fn(CrashPoint) -> std::io::Result<Command> + Sync),
) -> Result<Result<Run, String>, Error> {
    let failed = |source| Error::Spawn {
        what: format!("crash point {crash}"),
        source,
    };
    let output = command(crash)
        .and_then(|mut command| processes::output(&mut command))
        .map_err(failed)?;
    Ok(reported(&output).map(|(run, _)| run))
}

impl Run {
    fn sound(&self) -> Result<(), String> {
        match self.violations.first() {
            None => Ok(()),
            Some(violation) => Err(violation.to_string()),
        }
    }

    /// The business must be where it would be without a crash.
    fn same_as(&self, other: &Self) -> Result<(), String> {
        self.sound()?;
        same_state(&self.state, &other.state)
    }
}

type State = BTreeMap<String, Value>;

fn same_state(with: &State, without: &State) -> Result<(), String> {
    for name in with.keys().chain(without.keys()) {
        let (ours, theirs) = (with.get(name), without.get(name));
        if ours != theirs {
            let show = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
            let (with, without) = (show(ours), show(theirs));
            return Err(format!("{name}: {with} with the crash, {without} without"));
        }
    }
    Ok(())
}
