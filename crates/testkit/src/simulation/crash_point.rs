//! The places of a run at which a crash makes a difference: before and after each effect.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use env::world::{Effect, Moment};
use serde::Serialize;

/// A crash just before or just after one effect of a run: `7:before` is the instant before the seventh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CrashPoint {
    /// Which effect, counted from 1 and from when the users began.
    pub effect: u64,
    /// Whether it has happened when the process dies.
    pub happened: bool,
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = if self.happened { "after" } else { "before" };
        write!(f, "{}:{moment}", self.effect)
    }
}

impl FromStr for CrashPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a crash point; one is `7:before` or `7:after`");
        let (effect, moment) = text.split_once(':').ok_or_else(wrong)?;
        let effect = effect.parse().map_err(|_| wrong())?;
        let happened = match moment {
            "before" => false,
            "after" => true,
            _ => return Err(wrong()),
        };
        Ok(Self { effect, happened })
    }
}

impl Serialize for CrashPoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Counts the effects of a run, and knows at which a process dies. Clones count together.
#[derive(Clone, Default)]
pub(super) struct Effects(Arc<Mutex<Counted>>);

#[derive(Default)]
struct Counted {
    is_counting: bool,
    count: u64,
    /// The numbers of what has begun and not happened yet, by machine and kind: others may begin in the meantime.
    begun: BTreeMap<(String, &'static str), VecDeque<u64>>,
    crash: Option<CrashPoint>,
    struck: Option<String>,
}

impl Effects {
    /// From now on effects count, and the process dies that comes to `crash`.
    pub(super) fn count_from_now(&self, crash: Option<CrashPoint>) {
        let mut counted = self.counted();
        counted.is_counting = true;
        counted.crash = crash;
    }

    pub(super) fn count(&self) -> u64 {
        self.counted().count
    }

    /// What died where, once it has.
    pub(super) fn struck(&self) -> Option<String> {
        self.counted().struck.clone()
    }

    /// Counts an effect of `machine`, and says whether it is the one that kills it, now.
    pub(super) fn kills(&self, machine: &str, moment: Moment, effect: Effect<'_>) -> bool {
        let mut counted = self.counted();
        if !counted.is_counting {
            return false;
        }
        let what = match effect {
            Effect::Commit(_) => "a commit",
            Effect::Publish => "publishing",
            Effect::Acknowledge => "acknowledging",
        };
        let happened = moment == Moment::After;
        let Some(effect) = counted.number(machine, what, happened) else {
            return false;
        };
        let here = CrashPoint { effect, happened };
        if counted.struck.is_some() || counted.crash != Some(here) {
            return false;
        }
        let moment = if happened { "after" } else { "before" };
        counted.struck = Some(format!("{machine} dies just {moment} {what}"));
        true
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
