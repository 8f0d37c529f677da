//! One thing that goes wrong for a while.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Something that goes wrong for a while; times are counted from when the users began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins, in milliseconds as JSON.
    #[serde(rename = "fromMs", with = "millis")]
    pub from: Duration,
    /// When it is over, in milliseconds as JSON.
    #[serde(rename = "untilMs", with = "millis")]
    pub until: Duration,
    /// What it is.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What can go wrong. Machines go by the names of their services; `gateway` and `users` are machines too, and `bus` where
/// it is about a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "fault",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Kind {
    /// The process is killed, and started again at the end.
    Crash {
        /// The machine.
        machine: String,
        /// How many steps it still takes that others could see (a commit, something sent or published): it dies
        /// between two instants that nothing else tells apart. 0 is at once.
        after_steps: u32,
    },
    /// The machine loses its power, and is started again at the end: what its databases had not synced is gone, in
    /// whole or in part.
    PowerLoss {
        /// The machine.
        machine: String,
        /// How many steps it still takes that others could see.
        after_steps: u32,
    },
    /// The bus is killed: whoever waits for it is told that it is gone. At the end it is opened again, from its disk.
    BusCrash {
        /// Whether what it had not synced is gone, in whole or in part.
        loses_power: bool,
    },
    /// The disk of the machine has no room for more.
    DiskFull {
        /// The machine.
        machine: String,
    },
    /// The disk of the machine does not always sync, and says so. What it should have synced is lost for good.
    SyncFails {
        /// The machine.
        machine: String,
        /// One of so many fails.
        one_in: u32,
    },
    /// Every message between the two is lost.
    Partition {
        /// A machine.
        a: String,
        /// Another one.
        b: String,
    },
    /// Every message of one to the other is lost; the other way they arrive.
    OneWayPartition {
        /// Who is not heard.
        from: String,
        /// Who does not hear.
        to: String,
    },
    /// No message between the two arrives before the end.
    Hold {
        /// A machine.
        a: String,
        /// Another one.
        b: String,
    },
    /// Some messages between the two are lost, and with them what is on the way.
    Loss {
        /// A machine.
        a: String,
        /// Another one.
        b: String,
        /// How many of a hundred.
        percent: u32,
    },
    /// The next message between the two is cut off in the middle of its body, and its connection with it.
    Reset {
        /// A machine.
        a: String,
        /// Another one.
        b: String,
    },
    /// Every message is up to so long on its way.
    Latency {
        /// Milliseconds.
        ms_max: u64,
    },
    /// Everything that the machine says and hears takes so long.
    Slow {
        /// The machine.
        machine: String,
        /// Milliseconds.
        by_ms: u64,
    },
    /// The wall clock of the machine is wrong; at the beginning and at the end it jumps.
    Clock {
        /// The machine.
        machine: String,
        /// How many milliseconds it is ahead; behind, if negative.
        ahead_ms: i64,
    },
    /// The registry answers nobody, and whoever watches it sees no change.
    RegistryDown,
    /// The bus does nothing and says so.
    BusDown,
    /// The machine cannot reach the bus.
    BusPartition {
        /// The machine.
        machine: String,
    },
    /// The bus takes up to so long to begin with what it is asked.
    BusDelay {
        /// Milliseconds.
        ms_max: u64,
    },
    /// The bus does not answer, in half of the cases after it has done what it was asked.
    BusSilence {
        /// How often of a hundred.
        percent: u32,
    },
    /// Acknowledgements are lost, and what was handled is delivered again.
    Duplicates {
        /// How often of a hundred.
        percent: u32,
    },
    /// Events of different keys are delivered in another order than they were published.
    Reordering {
        /// How often of a hundred.
        percent: u32,
    },
}

impl Kind {
    /// The machine whose process it ends.
    pub(super) fn crashes(&self) -> Option<&str> {
        match self {
            Self::Crash { machine, .. } | Self::PowerLoss { machine, .. } => Some(machine),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash {
                machine,
                after_steps: 0,
            } => write!(f, "{machine} is down"),
            Self::Crash {
                machine,
                after_steps,
            } => write!(
                f,
                "{machine} takes {after_steps} more step(s), then is down"
            ),
            Self::PowerLoss {
                machine,
                after_steps: 0,
            } => write!(f, "{machine} has no power"),
            Self::PowerLoss {
                machine,
                after_steps,
            } => write!(
                f,
                "{machine} takes {after_steps} more step(s), then has no power"
            ),
            Self::BusCrash { loses_power: false } => f.write_str("the bus is killed"),
            Self::BusCrash { loses_power: true } => f.write_str("the bus has no power"),
            Self::DiskFull { machine } => write!(f, "the disk of {machine} is full"),
            Self::SyncFails { machine, one_in } => {
                write!(f, "one of {one_in} syncs of the disk of {machine} fails")
            }
            Self::Partition { a, b } => write!(f, "{a} and {b} are cut off from each other"),
            Self::OneWayPartition { from, to } => write!(f, "{to} does not hear {from}"),
            Self::Hold { a, b } => write!(f, "nothing arrives between {a} and {b}"),
            Self::Loss { a, b, percent } => {
                write!(
                    f,
                    "{percent} % of the messages between {a} and {b} are lost"
                )
            }
            Self::Reset { a, b } => {
                write!(
                    f,
                    "the next message between {a} and {b} is cut in the middle of its body"
                )
            }
            Self::Latency { ms_max } => write!(f, "messages take up to {ms_max} ms"),
            Self::Slow { machine, by_ms } => write!(f, "{machine} is slow, by {by_ms} ms"),
            Self::Clock { machine, ahead_ms } => {
                let (by, where_) = (ahead_ms.unsigned_abs(), direction(*ahead_ms));
                write!(f, "the clock of {machine} is {by} ms {where_}")
            }
            Self::RegistryDown => f.write_str("the registry is down"),
            Self::BusDown => f.write_str("the bus is down"),
            Self::BusPartition { machine } => write!(f, "{machine} cannot reach the bus"),
            Self::BusDelay { ms_max } => write!(f, "the bus takes up to {ms_max} ms to begin"),
            Self::BusSilence { percent } => {
                write!(f, "the bus does not answer {percent} % of the time")
            }
            Self::Duplicates { percent } => {
                write!(f, "{percent} % of the acknowledgements are lost")
            }
            Self::Reordering { percent } => {
                write!(
                    f,
                    "{percent} % of the deliveries are out of order between keys"
                )
            }
        }
    }
}

fn direction(ahead: i64) -> &'static str {
    if ahead < 0 { "behind" } else { "ahead" }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, until) = (self.from.as_secs_f64(), self.until.as_secs_f64());
        write!(f, "{} from {from:.3} s to {until:.3} s", self.kind)
    }
}

mod millis {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
