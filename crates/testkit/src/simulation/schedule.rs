//! What goes wrong in a run, and when: drawn from the seed before it begins.

use std::{collections::BTreeSet, time::Duration};

use identity::LEEWAY;
use outrigger::{Service, System};
use rand::{
    Rng, RngExt,
    seq::{IndexedRandom, SliceRandom},
};
use serde::{Deserialize, Serialize};

use super::{
    BUS, GATEWAY, USERS,
    fault::{Fault, Kind},
    faults::{Faults, Hazard},
    hub::TOKEN_LIFETIME,
    weather::SKEW_MS,
};

/// The faults of a run, by the time at which they begin. It is a value: it can be written down, thinned out and played
/// again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schedule {
    /// The faults. Each is known by its place in this list.
    pub faults: Vec<Fault>,
}

/// No fault begins before, in milliseconds.
const FIRST_MS: u64 = 50;
/// How long most faults last, in milliseconds.
const LENGTH_MS: std::ops::Range<u64> = 20..3_000;
/// One of so many lasts longer: past the limits of calls, leases and claims.
const LONG_ONE_IN: u32 = 10;
/// How many times as long as the storm the longest lasts.
const LONGEST: u64 = 10;
/// From how far ahead on a clock finds every token expired: past the life of one here, and what verifiers let pass.
const PAST_TOKENS_MS: i64 = 1_000 * (TOKEN_LIFETIME.as_secs() + LEEWAY.as_secs() + 2).cast_signed();
/// A machine that is said to die between two of its steps dies at the latest after this, if it takes none.
pub(super) const LAST_STEP: Duration = Duration::from_millis(200);

impl Schedule {
    /// Draws the faults of a run of `system`.
    pub(super) fn draw(system: &System, faults: &Faults) -> Self {
        let mut draw = Draw {
            chance: env::random(),
            end: faults.end(),
            services: services(system),
            links: links(system),
            drawn: Vec::new(),
        };
        draw.links.shuffle(&mut draw.chance);
        for (hazard, rate) in faults.rates() {
            let more = draw.chance.random_bool(rate.fract());
            for number in 0..rate.trunc() as u32 + u32::from(more) {
                draw.add(hazard, number == 0);
            }
        }
        let mut faults = draw.drawn;
        faults.sort_by_key(|fault| fault.from);
        drop_overlapping_crashes(&mut faults);
        Self { faults }
    }

    /// The faults at these places only.
    #[must_use]
    pub fn only(mut self, places: &BTreeSet<usize>) -> Self {
        let mut place = 0..;
        self.faults
            .retain(|_| place.next().is_some_and(|place| places.contains(&place)));
        self
    }

    /// When the last fault is over.
    pub fn end(&self) -> Duration {
        let ends = self.faults.iter().map(|fault| fault.until);
        ends.max().unwrap_or_default()
    }
}

/// The services, the one that calls the most others first: it has the most to lose.
fn services(system: &System) -> Vec<String> {
    let mut services: Vec<_> = system.services().iter().collect();
    let calls = |service: &&Service| service.declared_boundary().depends_on.len();
    services.sort_by_key(|service| std::cmp::Reverse(calls(service)));
    services
        .iter()
        .map(|service| service.name().to_owned())
        .collect()
}

/// Who speaks to whom.
fn links(system: &System) -> Vec<(String, String)> {
    let mut links = vec![(USERS.to_owned(), GATEWAY.to_owned())];
    for service in system.services() {
        links.push((GATEWAY.to_owned(), service.name().to_owned()));
        for called in &service.declared_boundary().depends_on {
            links.push((service.name().to_owned(), called.clone()));
        }
    }
    links
}

struct Draw<R> {
    chance: R,
    end: Duration,
    services: Vec<String>,
    /// Those that are still whole: the network knows one state of a link, so each fails in one way.
    links: Vec<(String, String)>,
    drawn: Vec<Fault>,
}

impl<R: Rng> Draw<R> {
    /// Draws a fault of `hazard`, where there is something left for it to befall.
    fn add(&mut self, hazard: Hazard, is_first: bool) {
        let Some(kind) = self.kind(hazard, is_first) else {
            return;
        };
        let (from, mut until) = if lasts(hazard) {
            (Duration::ZERO, self.end)
        } else {
            self.span()
        };
        if kind.crashes().is_some() {
            until += LAST_STEP; // so that it is away for a while, however late it dies
        }
        self.drawn.push(Fault { from, until, kind });
    }

    fn kind(&mut self, hazard: Hazard, is_first: bool) -> Option<Kind> {
        Some(match hazard {
            Hazard::Crash => Kind::Crash {
                machine: if is_first {
                    self.services.first().cloned()?
                } else {
                    self.service()?
                },
                after_steps: self.steps(),
            },
            Hazard::GatewayCrash => Kind::Crash {
                machine: GATEWAY.to_owned(),
                after_steps: self.steps(),
            },
            Hazard::BusCrash => Kind::BusCrash {
                loses_power: self.chance.random(),
            },
            Hazard::Partition => {
                let (a, b) = self.links.pop()?;
                Kind::Partition { a, b }
            }
            Hazard::OneWayPartition => {
                let (a, b) = self.links.pop()?;
                let (from, to) = if self.chance.random() { (a, b) } else { (b, a) };
                Kind::OneWayPartition { from, to }
            }
            Hazard::Hold => {
                let (a, b) = self.links.pop()?;
                Kind::Hold { a, b }
            }
            Hazard::Loss => {
                let (a, b) = self.links.pop()?;
                let percent = self.percent(20);
                Kind::Loss { a, b, percent }
            }
            Hazard::Reset => {
                let (a, b) = self.links.choose(&mut self.chance).cloned()?;
                Kind::Reset { a, b }
            }
            Hazard::Latency => Kind::Latency {
                ms_max: self.chance.random_range(2..=60),
            },
            Hazard::SlowHost => Kind::Slow {
                machine: self.server(),
                by_ms: self.chance.random_range(50..500),
            },
            Hazard::ClockSkew => self.clock(SKEW_MS),
            Hazard::ClockJump => self.clock(60_000),
            Hazard::ExpiredTokens => Kind::Clock {
                machine: self.service()?,
                ahead_ms: PAST_TOKENS_MS + self.chance.random_range(0..8_000),
            },
            Hazard::RegistryDown => Kind::RegistryDown,
            Hazard::BusDown => Kind::BusDown,
            Hazard::BusPartition => Kind::BusPartition {
                machine: self.service()?,
            },
            Hazard::BusDelay => Kind::BusDelay {
                ms_max: self.chance.random_range(1..=40),
            },
            Hazard::BusSilence => Kind::BusSilence {
                percent: self.percent(8),
            },
            Hazard::Duplicates => Kind::Duplicates {
                percent: self.percent(10),
            },
            Hazard::Reordering => Kind::Reordering {
                percent: self.percent(50),
            },
            Hazard::PowerLoss => Kind::PowerLoss {
                machine: self.service()?,
                after_steps: self.steps(),
            },
            Hazard::DiskFull => Kind::DiskFull {
                machine: self.disk(),
            },
            Hazard::SyncFails => Kind::SyncFails {
                machine: self.disk(),
                one_in: self.chance.random_range(1..=10),
            },
        })
    }

    /// Most steps are the first after another machine's; some of the later ones are what matters.
    fn steps(&mut self) -> u32 {
        self.chance.random_range(0..16)
    }

    fn service(&mut self) -> Option<String> {
        self.services.choose(&mut self.chance).cloned()
    }

    /// A machine that answers requests.
    fn server(&mut self) -> String {
        self.service_or(GATEWAY)
    }

    /// A machine with a disk.
    fn disk(&mut self) -> String {
        self.service_or(BUS)
    }

    fn service_or(&mut self, other: &str) -> String {
        let chosen = self.chance.random_range(0..=self.services.len());
        let service = self.services.get(chosen);
        service.cloned().unwrap_or_else(|| other.to_owned())
    }

    fn percent(&mut self, most: u32) -> u32 {
        self.chance.random_range(1..=most)
    }

    fn clock(&mut self, most_ms: i64) -> Kind {
        let machine = self.server();
        let ahead_ms = self.chance.random_range(-most_ms..=most_ms);
        Kind::Clock { machine, ahead_ms }
    }

    /// A fault begins while the users are busy, and most are over with the storm.
    fn span(&mut self) -> (Duration, Duration) {
        let end = u64::try_from(self.end.as_millis()).unwrap_or(u64::MAX);
        let latest = (end / 2).max(FIRST_MS + 1);
        let from = self.chance.random_range(FIRST_MS..latest);
        let length = self.chance.random_range(LENGTH_MS);
        let until = if self.chance.random_ratio(1, LONG_ONE_IN) {
            from + self
                .chance
                .random_range(end / 2..=end.saturating_mul(LONGEST))
        } else {
            (from + length).min(end.max(from))
        };
        (Duration::from_millis(from), Duration::from_millis(until))
    }
}

/// Whether faults of this hazard last from the beginning to the end.
fn lasts(hazard: Hazard) -> bool {
    matches!(
        hazard,
        Hazard::Latency
            | Hazard::ClockSkew
            | Hazard::BusDelay
            | Hazard::BusSilence
            | Hazard::Duplicates
            | Hazard::Reordering
    )
}

/// A machine that is down cannot crash.
fn drop_overlapping_crashes(faults: &mut Vec<Fault>) {
    let mut down: Vec<Fault> = Vec::new();
    faults.retain(|fault| {
        let Some(machine) = fault.kind.crashes() else {
            return true;
        };
        let overlaps =
            |other: &Fault| other.kind.crashes() == Some(machine) && other.until >= fault.from;
        let keep = !down.iter().any(overlaps);
        if keep {
            down.push(fault.clone());
        }
        keep
    });
}
