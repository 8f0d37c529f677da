//! Watching over a system that runs.
//!
//! An alert is raised for what is found at two looks in a row, and of the same thing for longer than the staleness of
//! the invariant; then once, and again only for other things. So neither work that is under way raises one, nor a look that fell between two commits. While a
//! database cannot be looked into, nothing is known, and nothing changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt, mem,
    time::Duration,
};

use env::{Instant, chain};

use super::{Findings, Inspection, Invariant};
use crate::{Settings, System};

/// Looks at the invariants of a system again and again.
pub struct Watch {
    watched: Vec<Watched>,
}

struct Watched {
    invariant: Invariant,
    /// Since when each thing is not as it must be.
    since: BTreeMap<String, Instant>,
    /// What an alert was raised for, and is so still.
    told: BTreeSet<String>,
}

/// That an invariant is broken, or holds again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What must be true, in words.
    pub invariant: String,
    /// What is found instead that was not told before; `None` if it holds again, of everything.
    pub found: Option<Findings>,
}

impl Watch {
    /// Over all invariants of `system`.
    pub fn of(system: &System) -> Self {
        let watched = |invariant: &Invariant| Watched {
            invariant: invariant.clone(),
            since: BTreeMap::new(),
            told: BTreeSet::new(),
        };
        Self {
            watched: system.invariants().iter().map(watched).collect(),
        }
    }

    /// Looks at every invariant, and says what has changed since the last time.
    pub async fn look(&mut self, view: &Inspection) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for watched in &mut self.watched {
            alerts.extend(watched.look(view.afresh()).await);
        }
        alerts
    }

    /// Looks every so often, for ever, and has `tell` told of each alert; never if `every` is zero.
    pub async fn run(
        mut self,
        system: &System,
        settings: &Settings,
        every: Duration,
        tell: impl Fn(&Alert),
    ) -> Infallible {
        if every.is_zero() {
            return std::future::pending().await;
        }
        loop {
            // Opened each time: a service may have made its database meanwhile.
            match Inspection::of(system, settings).await {
                Ok(view) => self.look(&view.glance()).await.iter().for_each(&tell),
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(error, "cannot look whether the invariants hold");
                }
            }
            env::sleep(every).await;
        }
    }
}

impl Watched {
    async fn look(&mut self, view: Inspection) -> Option<Alert> {
        let found = match self.invariant.check(view.clone()).await {
            Ok(()) => Findings::default(),
            Err(_) if view.has_failed() => return None,
            Err(found) => found,
        };
        let now = env::instant();
        let before = mem::take(&mut self.since);
        for thing in found.things() {
            let since = before.get(thing).copied();
            self.since.insert(thing.clone(), since.unwrap_or(now));
        }
        let staleness = self.invariant.staleness();
        let is_overdue = |thing: &str| {
            before
                .get(thing)
                .is_some_and(|since| now - *since >= staleness)
        };
        let overdue = found.only(is_overdue);
        let told = mem::replace(&mut self.told, overdue.things().cloned().collect());
        let holds_again = self.told.is_empty() && !told.is_empty();
        let news = overdue.only(|thing| !told.contains(thing));
        if news.0.is_empty() && !holds_again {
            return None;
        }
        Some(Alert {
            invariant: self.invariant.name().to_owned(),
            found: (!holds_again).then_some(news),
        })
    }
}

impl Alert {
    /// Logs it: at the level `ERROR` what is broken, at `WARN` what holds again.
    pub fn log(&self) {
        let invariant = &self.invariant;
        match &self.found {
            Some(found) => tracing::error!(invariant, %found, "an invariant is broken"),
            None => tracing::warn!(invariant, "an invariant holds again"),
        }
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Some(found) => write!(f, "broken: {}: {found}", self.invariant),
            None => write!(f, "holds again: {}", self.invariant),
        }
    }
}
