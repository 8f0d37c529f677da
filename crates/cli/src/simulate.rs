//! `simulate`: the whole system on simulated time, network and crashes, from a seed.

use std::{
    fmt::Display,
    num::ParseIntError,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    str::FromStr,
};

use clap::{ArgGroup, Args, ValueEnum, value_parser};
use outrigger::{System, env::chain};
use testkit::simulation::{self, CrashPoint, Death, Faults, Page, Report, Shrunk, Simulation};

use crate::{Error, Global, Output, note, progress::Progress, say};

/// What is run when no seed is given.
const DEFAULT_SEED: u64 = 1;
/// The most seeds that are run at once: more than anybody waits for.
const MOST: u64 = 1_000_000;
/// How many lines of a timeline are shown of a seed that failed.
const LAST: usize = 40;

/// Run the system in a deterministic simulation
#[derive(Args)]
#[command(
    after_help = "Examples:
  shop simulate --seed 42 --html run.html
  shop simulate --seeds 100
  shop simulate --crash-points",
    group = ArgGroup::new("one run").args(["seed", "crash_at"]).multiple(true)
)]
pub(crate) struct Simulate {
    /// Run this one seed
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,

    /// Of its faults, only those at these places of its schedule: `0,3`; nothing for none of them
    #[arg(
        long,
        value_name = "PLACES",
        requires = "seed",
        conflicts_with = "seeds"
    )]
    only: Option<Places>,

    /// Draw what happened as one HTML file; where a seed fails, with the fewest faults that still break it
    #[arg(long, value_name = "FILE", requires = "one run", conflicts_with_all = ["seeds", "crash_points"])]
    html: Option<PathBuf>,

    /// Do not look for the fewest faults that still break a seed
    #[arg(long, requires = "seed", conflicts_with_all = ["seeds", "only", "crash_points", "crash_at"])]
    no_shrink: bool,

    /// Run this many seeds, each in a process of its own
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = value_parser!(u64).range(1..=MOST))]
    seeds: u64,

    /// The first of them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(..=u64::MAX - MOST))]
    from: u64,

    /// Let many users come, for a minute
    #[arg(long, conflicts_with_all = ["crash_points", "crash_at"])]
    rush: bool,

    /// Kill a process before and after each commit and message of a short story, one run each, and require the same end
    #[arg(long, conflicts_with_all = ["seeds", "from", "only", "faults"])]
    crash_points: bool,

    /// Have the machine lose its power there, and what it has not synced, instead of killing a process
    #[arg(long, requires = "crash_points", conflicts_with = "crash_at")]
    power_loss: bool,

    /// Run that story with this one crash, and require the same end: `7:before`, `7:after`, `7:amid:powerless`
    #[arg(long, value_name = "POINT", conflicts_with_all = ["seeds", "from", "only", "faults", "crash_points"])]
    crash_at: Option<CrashPoint>,

    /// Do not run it without the crash as well, to compare how it ends
    #[arg(long, requires = "crash_at")]
    no_compare: bool,

    /// How much goes wrong
    #[arg(long, value_enum, default_value_t = Weather::Storm)]
    faults: Weather,
}

/// Places of faults in a schedule.
#[derive(Clone)]
struct Places(Vec<usize>);

impl FromStr for Places {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let places = text.split(',').filter(|place| !place.is_empty());
        places.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
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
            _ if self.crash_points => self.crash_points(global.output),
            Some(seed) => self.one(system, seed, global.output),
            None if self.crash_at.is_some() => self.one(system, DEFAULT_SEED, global.output),
            None => self.many(global.output),
        }
    }

    fn one(self, system: System, seed: u64, output: Output) -> Result<ExitCode, Error> {
        let mut simulation = Simulation::of(system)
            .seed(seed)
            .faults(self.faults.faults());
        if let Some(Places(places)) = &self.only {
            simulation = simulation.only(places.iter().copied());
        }
        if self.rush {
            simulation = simulation.rush();
        }
        if let Some(crash) = self.crash_at {
            simulation = simulation.crash_at(crash);
        }
        if self.html.is_some() || matches!(output, Output::Human) {
            simulation = simulation.timeline();
        }
        if let Some(file) = &self.html {
            look_for_folder_of(file)?; // before the run, which may take long
        }
        let mut report = simulation.run()?;
        if let Some(crash) = self.crash_at.filter(|_| !self.no_compare) {
            simulation::compare(&mut report, crash)?;
        }
        let is_well = report.violations.is_empty();
        if matches!(output, Output::Human) {
            say(&report);
            if let Some(timeline) = report.timeline.clone().filter(|_| !is_well) {
                say(format_args!("what happened last:\n{}", timeline.last(LAST)));
            }
        }
        if let Some(file) = &self.html {
            write(file, Page::of(&report).to_string())?;
        }
        let is_whole = self.only.is_none() && self.crash_at.is_none();
        let shrunk = if is_well || !is_whole || self.no_shrink {
            None
        } else {
            self.shrink(&report).unwrap_or_else(|error| {
                note(format_args!(
                    "the fewest faults were not found: {}",
                    chain(&error)
                ));
                None
            })
        };
        if matches!(output, Output::Json) {
            let mut report = serde_json::json!(report);
            report["shrunk"] = serde_json::json!(shrunk);
            say(report);
        }
        Ok(code(is_well))
    }

    /// Says which faults are to blame, and draws the run that has no others.
    fn shrink(&self, report: &Report) -> Result<Option<Shrunk>, Error> {
        let mut progress = Progress::of("faults left");
        let all = report.schedule.faults.len() as u64;
        let same = self.same();
        let shrunk = simulation::shrink(report, &same, |left| progress.show(left as u64, all))?;
        progress.clear();
        let Some(shrunk) = shrunk else {
            return Ok(None);
        };
        let (seed, only) = (report.seed, format!("--only={}", shrunk.only()));
        note(&shrunk);
        self.again(format_args!("--seed {seed} {only}"));
        if let Some(file) = &self.html {
            let mut command = Command::new(std::env::current_exe().map_err(Error::Again)?);
            command.args(["simulate", "--seed", &seed.to_string(), "--output", "json"]);
            command.arg(only).args(same);
            command.arg("--html").arg(file).stdout(Stdio::null());
            command.status().map_err(Error::Again)?;
        }
        Ok(Some(shrunk))
    }

    /// Says how `run` is seen once more.
    fn again(&self, run: impl Display) {
        let same: String = self.same().iter().map(|word| format!(" {word}")).collect();
        note(format_args!("to see it again: simulate {run}{same}"));
    }

    /// What another process has to be told to run a seed as this one does.
    fn same(&self) -> Vec<&'static str> {
        let rush = self.rush.then_some("--rush");
        let faults = match self.faults {
            Weather::Storm => Vec::new(),
            other => vec!["--faults", other.name()],
        };
        faults.into_iter().chain(rush).collect()
    }

    fn crash_points(&self, output: Output) -> Result<ExitCode, Error> {
        let seed = self.seed.unwrap_or(DEFAULT_SEED);
        let mut progress = Progress::of("crash points");
        let death = match self.power_loss {
            true => Death::PowerLoss,
            false => Death::Kill,
        };
        let show = |done, all| progress.show(done, all);
        let found = simulation::run_crash_points(seed, death, show)?;
        progress.clear();
        match output {
            Output::Json => say(serde_json::to_string(&found).unwrap_or_default()),
            Output::Human => say(&found),
        }
        if let Some(first) = found.failed.first() {
            let at = first.crash_point;
            self.again(format_args!("--seed {seed} --crash-at {at}"));
        }
        Ok(code(found.failed.is_empty()))
    }

    fn many(&self, output: Output) -> Result<ExitCode, Error> {
        let seeds = self.from..self.from + self.seeds;
        let same = self.same();
        let (mut progress, mut done) = (Progress::of("seeds"), 0);
        let summary = simulation::run_seeds(seeds, &same, |finished| {
            done += 1;
            if finished.failed() {
                progress.clear();
                note(finished);
            }
            progress.show(done, self.seeds);
        })?;
        progress.clear();
        match output {
            Output::Json => say(serde_json::to_string(&summary).unwrap_or_default()),
            Output::Human => say(&summary),
        }
        if let Some(first) = summary.failed.first() {
            self.again(format_args!("--seed {}", first.seed));
        }
        Ok(code(summary.failed.is_empty()))
    }
}

fn look_for_folder_of(file: &Path) -> Result<(), Error> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let found = folder.map_or(Ok(()), |folder| folder.metadata().map(drop));
    found.map_err(|source| unwritten(file, source))
}

fn write(file: &Path, text: String) -> Result<(), Error> {
    std::fs::write(file, text).map_err(|source| unwritten(file, source))
}

fn unwritten(file: &Path, source: std::io::Error) -> Error {
    Error::Write {
        path: file.to_owned(),
        source,
    }
}

fn code(is_well: bool) -> ExitCode {
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
