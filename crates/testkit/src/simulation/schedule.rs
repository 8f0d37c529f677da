//! What goes wrong in a run, and when: drawn from the seed before it begins.

use std::{fmt, time::Duration};

use rand::{
    Rng, RngExt,
    seq::{IndexedRandom, SliceRandom},
};
use serde::{Serialize, Serializer};

use super::faulty_bus::BusFaults;

/// The faults of a run. Each ends, and all have ended [`CALM`] after the users began.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// The longest that a message between two machines is on its way, in milliseconds.
    pub latency_ms_max: u64,
    /// How faulty the bus is until then.
    pub bus: BusFaults,
    /// What befalls machines and links, by the time at which it begins.
    pub faults: Vec<Fault>,
}

/// When every fault has ended, counted from when the users began.
pub const CALM: Duration = Duration::from_secs(6);
/// Faults begin while the users are busy.
const BEGIN_MS: std::ops::Range<u64> = 50..3_000;
const LENGTH_MS: std::ops::Range<u64> = 20..3_000;

/// Something that goes wrong for a while; times are counted from when the users began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// When it begins.
    #[serde(serialize_with = "millis")]
    pub from: Duration,
    /// When it ends.
    #[serde(serialize_with = "millis")]
    pub until: Duration,
    /// What it is.
    pub kind: Kind,
}

/// What can go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The process is killed, and started again at the end.
    Crash(String),
    /// Every message between the two is lost.
    Partition(String, String),
    /// No message between the two arrives before the end.
    Delay(String, String),
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Crash(machine) => write!(f, "{machine} is down")?,
            Kind::Partition(a, b) => write!(f, "{a} and {b} are cut off from each other")?,
            Kind::Delay(a, b) => write!(f, "nothing arrives between {a} and {b}")?,
        }
        write!(f, " from {:?} to {:?}", self.from, self.until)
    }
}

impl Schedule {
    /// Draws the faults of a run: `first` crashes in each, other `services` in some; one or more of the `links` fail.
    pub(super) fn draw(first: &str, services: &[String], links: Vec<(String, String)>) -> Self {
        let mut chance = env::random();
        let mut faults = vec![Fault::draw(&mut chance, Kind::Crash(first.to_owned()))];
        for _ in 0..chance.random_range(0..=2) {
            if let Some(service) = services.choose(&mut chance) {
                faults.push(Fault::draw(&mut chance, Kind::Crash(service.clone())));
            }
        }
        faults.extend(Fault::draw_links(&mut chance, links));
        faults.sort_by_key(|fault| fault.from);
        drop_overlapping_crashes(&mut faults);
        Self {
            latency_ms_max: chance.random_range(2..=60),
            bus: BusFaults {
                delay_ms_max: chance.random_range(0..=40),
                silence: chance.random_range(0.0..0.08),
                lost_acknowledgement: chance.random_range(0.0..0.1),
            },
            faults,
        }
    }
}

impl Fault {
    fn draw(chance: &mut impl Rng, kind: Kind) -> Self {
        let from = Duration::from_millis(chance.random_range(BEGIN_MS));
        let length = Duration::from_millis(chance.random_range(LENGTH_MS));
        let until = (from + length).min(CALM);
        Self { from, until, kind }
    }

    /// Each link fails in one way: the simulated network knows one state of it.
    fn draw_links(chance: &mut impl Rng, mut links: Vec<(String, String)>) -> Vec<Self> {
        links.shuffle(chance);
        links.truncate(chance.random_range(1..=3));
        let fault = |(number, (a, b))| {
            let kind = if number == 0 || chance.random_bool(0.5) {
                Kind::Partition(a, b)
            } else {
                Kind::Delay(a, b)
            };
            Self::draw(chance, kind)
        };
        links.into_iter().enumerate().map(fault).collect()
    }
}

/// A machine that is down cannot crash.
fn drop_overlapping_crashes(faults: &mut Vec<Fault>) {
    let mut down: Vec<Fault> = Vec::new();
    faults.retain(|fault| {
        let Kind::Crash(_) = fault.kind else {
            return true;
        };
        let overlaps = |other: &Fault| other.kind == fault.kind && other.until >= fault.from;
        let keep = !down.iter().any(overlaps);
        if keep {
            down.push(fault.clone());
        }
        keep
    });
}
