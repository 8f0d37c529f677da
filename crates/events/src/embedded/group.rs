//! What a group keeps in memory: who is handling what, and what is put off.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use env::Instant;
use tokio::sync::watch;

/// A group that somebody subscribed to since the process started.
pub(super) struct Group {
    pub(super) id: i64,
    /// Held while events are taken or settled: what was read as ready is still so when it is leased.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// The last place of the log when the group was first subscribed to. What is not later may have been delivered
    /// by a process that is no more.
    before: i64,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    /// What may not be taken, by its place in the log.
    leases: BTreeMap<i64, Lease>,
    /// How often what came back without an acknowledgement was delivered.
    returned: BTreeMap<i64, u32>,
    subscriptions: u64,
    /// Nothing may be taken.
    paused: bool,
}

#[derive(Clone, Copy)]
enum Lease {
    /// It is being handled by this subscription, for so many times.
    Taken { by: u64, attempt: u32 },
    /// It is put off until then.
    Until(Instant),
}

impl Group {
    pub(super) fn new(id: i64, before: i64) -> Self {
        Self {
            id,
            turn: tokio::sync::Mutex::default(),
            before,
            state: Mutex::default(),
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
        let State {
            leases, returned, ..
        } = &mut *state;
        leases.retain(|&sequence, lease| match *lease {
            Lease::Taken { by, attempt } if by == subscription => {
                returned.insert(sequence, attempt);
                false
            }
            _ => true,
        });
        drop(state);
        self.wake();
    }

    /// Returns those of what the subscription holds that `which` says, as if they had not been taken.
    pub(super) fn give_back(&self, subscription: u64, which: impl Fn(i64) -> bool) {
        let mut any = false;
        self.state().leases.retain(|&sequence, lease| {
            let given =
                matches!(lease, Lease::Taken { by, .. } if *by == subscription) && which(sequence);
            any |= given;
            !given
        });
        if any {
            self.wake();
        }
    }

    /// How much the subscription holds.
    pub(super) fn held(&self, subscription: u64) -> usize {
        let state = self.state();
        let is_held =
            |lease: &&Lease| matches!(lease, Lease::Taken { by, .. } if *by == subscription);
        state.leases.values().filter(is_held).count()
    }

    /// When the first of what is put off may be taken.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let state = self.state();
        let times = state.leases.values().filter_map(|lease| match lease {
            Lease::Until(time) => Some(*time),
            Lease::Taken { .. } => None,
        });
        times.min()
    }

    /// Ends what was put off until now.
    pub(super) fn expire(&self) {
        let now = env::instant();
        let is_over = |lease: &Lease| matches!(lease, Lease::Until(time) if *time <= now);
        self.state().leases.retain(|_, lease| !is_over(lease));
    }

    /// How many may not be taken.
    pub(super) fn leased(&self) -> usize {
        self.state().leases.len()
    }

    pub(super) fn is_leased(&self, sequence: i64) -> bool {
        self.state().leases.contains_key(&sequence)
    }

    pub(super) fn holds(&self, subscription: u64, sequence: i64) -> bool {
        let state = self.state();
        matches!(state.leases.get(&sequence), Some(Lease::Taken { by, .. }) if *by == subscription)
    }

    /// How often it was delivered, as far as is known here.
    pub(super) fn returned(&self, sequence: i64) -> u32 {
        self.state().returned.get(&sequence).copied().unwrap_or(0)
    }

    /// Whether a delivery of it may not be the first, and so is counted in the database.
    pub(super) fn is_counted(&self, sequence: i64) -> bool {
        sequence <= self.before || self.state().returned.contains_key(&sequence)
    }

    pub(super) fn lease(&self, subscription: u64, taken: impl Iterator<Item = (i64, u32)>) {
        let taken = taken.map(|(sequence, attempt)| {
            let by = subscription;
            (sequence, Lease::Taken { by, attempt })
        });
        self.state().leases.extend(taken);
    }

    /// Ends a lease: the event is done with.
    pub(super) fn settle(&self, sequence: i64) {
        let mut state = self.state();
        state.leases.remove(&sequence);
        state.returned.remove(&sequence);
        let is_awaited = state.paused;
        drop(state);
        if is_awaited {
            self.wake();
        }
    }

    /// Ends a lease of the subscription: the event may be taken again at `time`.
    pub(super) fn put_off(&self, subscription: u64, sequence: i64, time: Instant) {
        let mut state = self.state();
        let Some(&Lease::Taken { by, attempt }) = state.leases.get(&sequence) else {
            return;
        };
        if by != subscription {
            return;
        }
        state.leases.insert(sequence, Lease::Until(time));
        state.returned.insert(sequence, attempt);
        drop(state);
        self.wake();
    }

    /// From here on nothing is taken, until what this returns is dropped.
    pub(super) async fn pause(&self) -> Paused<'_> {
        // Whoever takes now has finished with it, or sees that it may not.
        let _turn = self.turn.lock().await;
        self.state().paused = true;
        Paused(self)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.state().paused
    }

    /// Resolves when nothing is being handled.
    pub(super) async fn quiet(&self) {
        let mut changes = self.changes();
        let is_taken = |lease: &Lease| matches!(lease, Lease::Taken { .. });
        while self.state().leases.values().any(is_taken) {
            // The sender is ours.
            _ = changes.changed().await;
        }
    }

    pub(super) fn wake(&self) {
        self.changed.send_replace(());
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// A group that is given nothing; it goes on when this is dropped.
pub(super) struct Paused<'a>(&'a Group);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.state().paused = false;
        self.0.wake();
    }
}
