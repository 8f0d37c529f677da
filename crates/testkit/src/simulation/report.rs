//! What a run found, for people and for programs.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{schedule::Schedule, timeline::Timeline};

/// What a run of one seed found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The seed: it alone gives this report again.
    pub seed: u64,
    /// The hash of all that happened, event for event.
    pub trace_hash: String,
    /// What was not as it must be; empty is well.
    pub violations: Vec<Violation>,
    /// When the users began, in milliseconds of simulated time since the machines started: faults count from then.
    #[serde(rename = "usersBeganMs", serialize_with = "millis")]
    pub users_began: Duration,
    /// How much simulated time passed, in milliseconds.
    #[serde(rename = "simulatedMs", serialize_with = "millis")]
    pub simulated: Duration,
    /// How many events of each type were published.
    pub events: BTreeMap<String, u64>,
    /// How often the paths were taken that matter: deaths, time-outs, undos, what was taken over. What is not here was not.
    pub reached: BTreeMap<String, u64>,
    /// How often an invariant was checked.
    pub checks: u64,
    /// How many commits, publishings and acknowledgements the services had since the users began.
    pub effects: u64,
    /// What died at the [crash point](super::CrashPoint), in words; null where nothing did.
    pub struck: Option<String>,
    /// Where the business is in the end, as [`System::state`](outrigger::System::state) says.
    pub state: BTreeMap<String, Value>,
    /// How many entries the trace has.
    pub trace_entries: u64,
    /// What went wrong on purpose.
    pub schedule: Schedule,
    /// What happened, if [`Simulation::timeline`](super::Simulation::timeline) was asked for.
    #[serde(skip)]
    pub timeline: Option<Timeline>,
}

/// Something that was not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// After how much simulated time it was seen, in milliseconds.
    #[serde(rename = "atMs")]
    pub at_ms: u64,
    /// What must be.
    pub rule: String,
    /// What was found instead.
    pub found: String,
}

impl Violation {
    pub(super) fn new(at: Duration, rule: &str, found: String) -> Self {
        Self {
            at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            rule: rule.to_owned(),
            found,
        }
    }
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = Duration::from_millis(self.at_ms);
        write!(f, "after {at:?}: {}: {}", self.rule, self.found)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.violations.is_empty() {
            "all invariants hold"
        } else {
            "VIOLATED"
        };
        writeln!(f, "seed {}: {verdict}", self.seed)?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        writeln!(
            f,
            "  {:?} simulated, {} checks of invariants",
            self.simulated, self.checks
        )?;
        let began = self.users_began;
        writeln!(
            f,
            "  faults, by the time since the users began, which was after {began:?}:"
        )?;
        if let Some(struck) = &self.struck {
            writeln!(f, "        {struck}")?;
        }
        for (place, fault) in self.schedule.faults.iter().enumerate() {
            writeln!(f, "    {place:>2}  {fault}")?;
        }
        writeln!(f, "  events:")?;
        for (kind, count) in &self.events {
            writeln!(f, "    {count:>6} {kind}")?;
        }
        writeln!(f, "  paths that were taken:")?;
        for (path, times) in &self.reached {
            writeln!(f, "    {times:>6} {path}")?;
        }
        write!(
            f,
            "  trace {} ({} entries)",
            self.trace_hash, self.trace_entries
        )
    }
}

/// What the processes of many seeds reported.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// How many seeds were run.
    pub seeds: u64,
    /// Those that failed, in order.
    pub failed: Vec<Failed>,
    /// Seeds per second of real time.
    pub seeds_per_second: f64,
    /// How many of the seeds were run twice, to see that they repeat.
    pub repeated: u64,
    /// How many events of each type were published, in all seeds together.
    pub events: BTreeMap<String, u64>,
    /// How often the paths were taken that matter, in all seeds together.
    pub reached: BTreeMap<String, u64>,
}

/// A seed that failed.
#[derive(Debug, Clone, Serialize)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// Why, in words.
    pub reason: String,
    /// What its process reported; null when it reported nothing.
    pub report: Value,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.reason)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failed in &self.failed {
            writeln!(f, "{failed}")?;
        }
        for (path, times) in &self.reached {
            writeln!(f, "{times:>8} {path}")?;
        }
        write!(
            f,
            "{} seed(s), {} failed, {} repeated, {:.1} seeds per second",
            self.seeds,
            self.failed.len(),
            self.repeated,
            self.seeds_per_second
        )
    }
}
