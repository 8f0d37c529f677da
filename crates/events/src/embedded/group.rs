//! What a group keeps in memory: who is handling what, and when retries are due.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use env::Instant;
use tokio::sync::watch;

/// A group that somebody subscribed to since the process started.
pub(super) struct Group {
    pub(super) id: i64,
    /// Held while events are taken or settled: what was read as ready is still so when it is leased.
    pub(super) turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// What is being handled: the subscription that has it, by its place in the log.
    leases: BTreeMap<i64, u64>,
    /// What is to be looked at from a time on: retries, and what a subscription that ended has left behind.
    due: BTreeSet<(Instant, i64)>,
    subscriptions: u64,
}

impl Group {
    pub(super) fn new(id: i64, retries: impl IntoIterator<Item = (Instant, i64)>) -> Self {
        let state = State {
            due: retries.into_iter().collect(),
            ..State::default()
        };
        Self {
            id,
            turn: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
            changed: watch::Sender::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a new subscription.
    pub(super) fn enter(&self) -> u64 {
        let mut state = self.state();
        state.subscriptions += 1;
        state.subscriptions
    }

    /// Returns what the subscription has not settled.
    pub(super) fn leave(&self, subscription: u64) {
        let mut state = self.state();
        let now = env::instant();
        let State { leases, due, .. } = &mut *state;
        leases.retain(|sequence, holder| {
            let stays = *holder != subscription;
            if !stays {
                due.insert((now, *sequence));
            }
            stays
        });
        drop(state);
        self.wake();
    }

    /// What is due by now, the earliest first.
    pub(super) fn due(&self, limit: usize) -> Vec<(Instant, i64)> {
        let now = env::instant();
        let state = self.state();
        let due = state.due.iter().take_while(|(at, _)| *at <= now);
        due.take(limit).copied().collect()
    }

    /// When the next will be due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.state().due.first().map(|(at, _)| *at)
    }

    /// How many are being handled.
    pub(super) fn leased(&self) -> usize {
        self.state().leases.len()
    }

    pub(super) fn is_leased(&self, sequence: i64) -> bool {
        self.state().leases.contains_key(&sequence)
    }

    pub(super) fn holds(&self, subscription: u64, sequence: i64) -> bool {
        self.state().leases.get(&sequence) == Some(&subscription)
    }

    /// Leases `taken` to the subscription; `seen` are those of the due that need no second look.
    pub(super) fn lease(
        &self,
        subscription: u64,
        seen: &[(Instant, i64)],
        taken: impl Iterator<Item = i64>,
    ) {
        let mut state = self.state();
        for entry in seen {
            state.due.remove(entry);
        }
        state
            .leases
            .extend(taken.map(|sequence| (sequence, subscription)));
    }

    /// Ends a lease; the event is due again `at` that time, if it is to be retried.
    pub(super) fn settle(&self, sequence: i64, at: Option<Instant>) {
        let mut state = self.state();
        state.leases.remove(&sequence);
        state.due.extend(at.map(|at| (at, sequence)));
    }

    pub(super) fn wake(&self) {
        self.changed.send_replace(());
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
