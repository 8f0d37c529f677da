//! The places of a run at which a crash makes a difference: before and after each effect, and amid it where power is lost.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use env::world::{Effect, Moment};
use serde::Serialize;

use crate::disk::Disk;

/// Within how many operations of its disk a machine loses its power that does so amid a commit: a small commit has about
/// as many.
const OPERATIONS: u32 = 12;

/// A crash at one effect of a run: `7:before` is a kill at the instant before the seventh, `7:amid:powerless` a loss of power
/// while it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CrashPoint {
    /// Which effect, counted from 1 and from when the users began.
    pub effect: u64,
    /// How far it is.
    pub phase: Phase,
    /// Whether the machine loses its power, and with it what is not synced; otherwise its process is killed.
    pub is_powerless: bool,
}

/// How far an effect is when the crash comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It has not begun.
    Before,
    /// A commit is written in part, and not synced. Of anything else nobody hears that it happened.
    Amid,
    /// It has happened, and nobody in the process knows it yet.
    After,
}

impl Phase {
    const ALL: [(Self, &str); 3] = [
        (Self::Before, "before"),
        (Self::Amid, "amid"),
        (Self::After, "after"),
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(phase, _)| phase == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

const POWERLESS: &str = "powerless";

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.effect, self.phase)?;
        match self.is_powerless {
            true => write!(f, ":{POWERLESS}"),
            false => Ok(()),
        }
    }
}

impl FromStr for CrashPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "`{text}` is not a crash point; one is `7:before`, `7:after` or `7:amid:{POWERLESS}`"
            )
        };
        let mut parts = text.split(':');
        let effect = parts.next().and_then(|effect| effect.parse().ok());
        let phase = parts.next().unwrap_or_default();
        let phase = Phase::ALL.iter().find(|(_, name)| *name == phase);
        let is_powerless = match parts.next() {
            None => false,
            Some(POWERLESS) => true,
            Some(_) => return Err(wrong()),
        };
        match (effect, phase, parts.next()) {
            (_, Some((Phase::Amid, _)), _) if !is_powerless => Err(wrong()),
            (Some(effect), Some((phase, _)), None) => Ok(Self {
                effect,
                phase: *phase,
                is_powerless,
            }),
            _ => Err(wrong()),
        }
    }
}

impl Serialize for CrashPoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Counts the effects of a run, and knows at which a machine dies. Clones count together.
#[derive(Clone, Default)]
pub(super) struct Effects(Arc<Mutex<Counted>>);

#[derive(Default)]
struct Counted {
    is_counting: bool,
    count: u64,
    /// The numbers of what has begun and not happened yet, by machine and kind: others may begin in the meantime.
    begun: BTreeMap<(String, &'static str), VecDeque<u64>>,
    crash: Option<CrashPoint>,
    disks: BTreeMap<String, Disk>,
    struck: Option<Struck>,
}

struct Struck {
    machine: String,
    words: String,
}

impl Effects {
    /// From now on effects count, and the machine dies that comes to `crash`; `disks` are those of the machines.
    pub(super) fn count_from_now(&self, crash: Option<CrashPoint>, disks: BTreeMap<String, Disk>) {
        let mut counted = self.counted();
        counted.is_counting = true;
        counted.crash = crash;
        counted.disks = disks;
    }

    pub(super) fn count(&self) -> u64 {
        self.counted().count
    }

    /// What died where, once it has.
    pub(super) fn struck(&self) -> Option<String> {
        let counted = self.counted();
        counted.struck.as_ref().map(|struck| struck.words.clone())
    }

    /// Whether `machine` died at the crash point, of a loss of power.
    pub(super) fn is_powerless(&self, machine: &str) -> bool {
        let counted = self.counted();
        let struck = counted.struck.as_ref();
        struck.is_some_and(|struck| struck.machine == machine)
            && counted.crash.is_some_and(|crash| crash.is_powerless)
    }

    /// Counts an effect of `machine`. If it is the one at which the machine dies, says how many more steps it takes.
    pub(super) fn strike(&self, machine: &str, moment: Moment, effect: Effect<'_>) -> Option<u32> {
        let mut counted = self.counted();
        if !counted.is_counting {
            return None;
        }
        let what = match effect {
            Effect::Commit(_) => "a commit",
            Effect::Publish => "publishing",
            Effect::Acknowledge => "acknowledging",
        };
        let number = counted.number(machine, what, moment == Moment::After)?;
        let crash = counted.crash.filter(|crash| crash.effect == number)?;
        let steps = match (crash.phase, moment) {
            (Phase::Before, Moment::Before) | (Phase::After, Moment::After) => 0,
            (Phase::Amid, Moment::Before) => 1, // this one
            _ => return None,
        };
        if counted.struck.is_some() {
            return None;
        }
        // At this instant, so that nothing more is synced until the machine is taken from the network.
        let disk = counted.disks.get(machine);
        match disk.filter(|_| crash.is_powerless) {
            Some(disk) if crash.phase == Phase::Amid => disk.power_loss_within(OPERATIONS),
            Some(disk) => disk.power_loss(),
            None => {}
        }
        let how = if crash.is_powerless {
            "loses its power"
        } else {
            "dies"
        };
        let just = if crash.phase == Phase::Amid {
            ""
        } else {
            "just "
        };
        counted.struck = Some(Struck {
            machine: machine.to_owned(),
            words: format!("{machine} {how} {just}{} {what}", crash.phase),
        });
        Some(steps)
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    /// The number of an effect: a new one before it, the same one after it. `None` after one that began before effects
    /// counted.
    fn number(&mut self, machine: &str, what: &'static str, happened: bool) -> Option<u64> {
        let begun = self.begun.entry((machine.to_owned(), what)).or_default();
        if happened {
            return begun.pop_front();
        }
        self.count += 1;
        begun.push_back(self.count);
        Some(self.count)
    }
}
