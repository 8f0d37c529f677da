//! The fewest faults that still break the same rule.
//!
//! Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002), on the list of
//! faults: parts of it are left out, larger ones first, as long as the run still fails. In the end none can be
//! left out any more. Each try is a run of the same seed in a process of its own.

use std::{fmt, process::Command};

use serde::{Deserialize, Serialize};

use super::{
    Error,
    fault::Fault,
    processes::{self, reported},
    report::{Report, Violation},
    schedule::Schedule,
};

/// More tries than a schedule of a hundred faults takes.
const TRIES: u32 = 1_000;

/// A schedule from which nothing can be left out.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shrunk {
    /// The places of its faults in the schedule that it was made from.
    pub places: Vec<usize>,
    /// Its faults.
    pub faults: Vec<Fault>,
    /// How many runs it took to find.
    pub tries: u32,
}

impl Shrunk {
    /// Its places as `--only` takes them.
    pub fn only(&self) -> String {
        let places: Vec<_> = self.places.iter().map(ToString::to_string).collect();
        places.join(",")
    }
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tries = self.tries;
        if self.faults.is_empty() {
            return write!(f, "it fails without any fault (found in {tries} runs)");
        }
        write!(
            f,
            "the fewest faults that still break it (found in {tries} runs):"
        )?;
        for (place, fault) in self.places.iter().zip(&self.faults) {
            write!(f, "\n  {place:>4}  {fault}")?;
        }
        Ok(())
    }
}

/// Shrinks the schedule of `report`, which found something wrong, by `simulate --seed N --only PLACES --output json` of
/// this executable with these `arguments`, and tells `progress` after each try how many faults are left.
///
/// # Errors
/// [`Error::Spawn`].
pub fn shrink(
    report: &Report,
    arguments: &[&str],
    progress: impl FnMut(usize),
) -> Result<Option<Shrunk>, Error> {
    let seed = report.seed.to_string();
    let command = |places: &[usize]| {
        let places: Vec<_> = places.iter().map(ToString::to_string).collect();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["simulate", "--output", "json", "--seed", &seed]);
        command.arg(format!("--only={}", places.join(",")));
        command.args(arguments);
        Ok(command)
    };
    shrink_by(report, command, progress)
}

/// Shrinks the schedule of `report` by `command`, which runs the faults at these places only and prints its
/// [`Report`] as JSON. `None` if nothing was found wrong.
///
/// # Errors
/// [`Error::Spawn`].
pub fn shrink_by(
    report: &Report,
    command: impl Fn(&[usize]) -> std::io::Result<Command>,
    mut progress: impl FnMut(usize),
) -> Result<Option<Shrunk>, Error> {
    let Some(broken) = report.violations.first() else {
        return Ok(None);
    };
    let Schedule { faults } = &report.schedule;
    let mut tries = 0;
    let places = fewest((0..faults.len()).collect(), |places| {
        if tries == TRIES {
            return Ok(false);
        }
        tries += 1;
        let still = breaks(&broken.rule, places, &command);
        progress(places.len());
        still
    })?;
    let faults = places.iter().map(|place| faults[*place].clone()).collect();
    Ok(Some(Shrunk {
        places,
        faults,
        tries,
    }))
}

#[derive(Deserialize)]
struct Found {
    violations: Vec<Violation>,
}

fn breaks(
    rule: &str,
    places: &[usize],
    command: &impl Fn(&[usize]) -> std::io::Result<Command>,
) -> Result<bool, Error> {
    let output = command(places).and_then(|mut command| processes::output(&mut command));
    let output = output.map_err(|source| Error::Spawn {
        what: format!("the faults {places:?}"),
        source,
    })?;
    // Another failure is another matter, and so is a run without a report.
    let found = reported::<Found>(&output);
    Ok(found.is_ok_and(|(found, _)| found.violations.iter().any(|found| found.rule == rule)))
}

/// Leaves out of `items`, which fail together, what can be left out: of what is left, nothing can.
///
/// # Errors
/// Those of `fails`.
pub fn fewest<T: Clone, E>(
    items: Vec<T>,
    mut fails: impl FnMut(&[T]) -> Result<bool, E>,
) -> Result<Vec<T>, E> {
    if fails(&[])? {
        return Ok(Vec::new());
    }
    let mut left = items;
    let mut parts = 2;
    while left.len() > 1 {
        let size = left.len().div_ceil(parts);
        let mut smaller = None;
        for begin in (0..left.len()).step_by(size) {
            let end = (begin + size).min(left.len());
            let without = [&left[..begin], &left[end..]].concat();
            if !without.is_empty() && fails(&without)? {
                smaller = Some(without);
                break;
            }
        }
        match smaller {
            Some(without) => {
                left = without;
                parts = parts.saturating_sub(1).max(2);
            }
            None if size == 1 => break,
            None => parts = (2 * parts).min(left.len()),
        }
    }
    Ok(left)
}
