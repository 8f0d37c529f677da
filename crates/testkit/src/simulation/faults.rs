//! How much goes wrong in a run: a rate for each hazard.

use std::{collections::BTreeMap, time::Duration};

/// A kind of fault, before chance has said whom it befalls and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hazard {
    /// A service is killed and started again, between any two of its steps.
    Crash,
    /// The gateway is killed and started again.
    GatewayCrash,
    /// The bus is killed and started again, in half of the cases with a loss of power.
    BusCrash,
    /// A link loses every message.
    Partition,
    /// A link loses every message of one direction.
    OneWayPartition,
    /// A link keeps every message until later.
    Hold,
    /// A link loses some messages.
    Loss,
    /// A connection breaks in the middle of the body of a message.
    Reset,
    /// All messages take a while, all along.
    Latency,
    /// A machine is slow.
    SlowHost,
    /// A wall clock is off by up to two seconds, all along.
    ClockSkew,
    /// A wall clock jumps by up to a minute, and later back.
    ClockJump,
    /// The wall clock of a service is so far ahead that every token has expired for it, and those that it signs are from the
    /// future for others.
    ExpiredTokens,
    /// The registry is away.
    RegistryDown,
    /// The bus is away.
    BusDown,
    /// One service cannot reach the bus.
    BusPartition,
    /// The bus is slow, all along.
    BusDelay,
    /// The bus does not always answer, all along.
    BusSilence,
    /// The bus delivers again what was handled, all along.
    Duplicates,
    /// The bus delivers events of different keys out of order, all along.
    Reordering,
    /// A service is killed by a loss of power, and with it what was not synced is lost.
    PowerLoss,
    /// The disk of a service, or of the bus, is full.
    DiskFull,
    /// The disk of a service, or of the bus, fails to sync now and then.
    SyncFails,
}

/// How many faults of each [`Hazard`] a run has, and for how long.
///
/// A rate is the mean number of a hazard's faults in a run: 1.5 is one in every run, and a second in half of them.
/// Which machine or link each befalls, when it begins and how long it lasts follow from the seed.
///
/// ```
/// use outrigger_testkit::simulation::{Faults, Hazard};
///
/// let faults = Faults::storm()
///     .rate(Hazard::Crash, 4.0)
///     .rate(Hazard::ClockJump, 0.0);
/// assert_eq!(faults.rate_of(Hazard::Crash), 4.0);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    rates: BTreeMap<Hazard, f64>,
    lasting: Duration,
}

/// Default of [`Faults::lasting`].
const LASTING: Duration = Duration::from_secs(6);

impl Faults {
    /// No faults at all.
    pub fn none() -> Self {
        Self {
            rates: BTreeMap::new(),
            lasting: LASTING,
        }
    }

    /// A bad day in a data centre: messages take their time, a link fails, a service crashes.
    pub fn breeze() -> Self {
        [
            (Hazard::Latency, 1.0),
            (Hazard::Crash, 1.0),
            (Hazard::Partition, 0.5),
            (Hazard::Duplicates, 0.5),
            (Hazard::PowerLoss, 0.3),
        ]
        .into_iter()
        .fold(Self::none(), |faults, (hazard, rate)| {
            faults.rate(hazard, rate)
        })
    }

    /// Everything that there is: in every run two services crash or more, and several links fail in several ways.
    pub fn storm() -> Self {
        [
            (Hazard::Crash, 2.0),
            (Hazard::GatewayCrash, 0.3),
            (Hazard::BusCrash, 0.4),
            (Hazard::Partition, 1.0),
            (Hazard::OneWayPartition, 0.5),
            (Hazard::Hold, 0.7),
            (Hazard::Loss, 0.4),
            (Hazard::Reset, 1.5),
            (Hazard::Latency, 1.0),
            (Hazard::SlowHost, 0.3),
            (Hazard::ClockSkew, 0.6),
            (Hazard::ClockJump, 0.3),
            (Hazard::ExpiredTokens, 0.3),
            (Hazard::RegistryDown, 0.3),
            (Hazard::BusDown, 0.3),
            (Hazard::BusPartition, 0.5),
            (Hazard::BusDelay, 0.9),
            (Hazard::BusSilence, 0.9),
            (Hazard::Duplicates, 0.9),
            (Hazard::Reordering, 0.7),
            (Hazard::PowerLoss, 1.0),
            (Hazard::DiskFull, 0.3),
            (Hazard::SyncFails, 0.3),
        ]
        .into_iter()
        .fold(Self::none(), |faults, (hazard, rate)| {
            faults.rate(hazard, rate)
        })
    }

    /// Sets the rate of one hazard; 0 is never. At most 100 count.
    #[must_use]
    pub fn rate(mut self, hazard: Hazard, rate: f64) -> Self {
        self.rates.insert(hazard, rate.clamp(0.0, 100.0));
        self
    }

    /// How long the storm lasts, counted from when the users began; default 6 s. Faults begin in its first half. Nine of
    /// ten are over with it; the tenth may outlast it ten times, and with it every limit that a system has.
    #[must_use]
    pub fn lasting(mut self, lasting: Duration) -> Self {
        self.lasting = lasting;
        self
    }

    /// The rate of one hazard.
    pub fn rate_of(&self, hazard: Hazard) -> f64 {
        self.rates.get(&hazard).copied().unwrap_or(0.0)
    }

    /// The hazards in their order, each with its rate.
    pub(super) fn rates(&self) -> impl Iterator<Item = (Hazard, f64)> + '_ {
        self.rates.iter().map(|(hazard, rate)| (*hazard, *rate))
    }

    /// How long the storm lasts.
    pub(super) fn end(&self) -> Duration {
        self.lasting
    }
}

impl Default for Faults {
    /// [`Faults::storm`].
    fn default() -> Self {
        Self::storm()
    }
}
