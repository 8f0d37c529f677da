//! Which machines die between two of their steps, and which are dead already.
//!
//! Machines take turns, and the network lets none be killed amid its turn. So one that dies there goes on to the end
//! of the turn, but nothing that it does gets out: it commits nothing, it sends nothing, the bus does not hear it. To
//! everybody else, and to its own files, it died where it was said to.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What is to become of some machines. Clones are handles of one list.
#[derive(Clone, Default)]
pub(super) struct Fates(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// The length of the list, for those who only want to know that it is empty.
    doomed: AtomicUsize,
    /// By machine, how many steps it still takes.
    steps_left: Mutex<BTreeMap<String, u32>>,
}

impl Fates {
    /// Whether anybody is dead or about to die.
    pub(super) fn any(&self) -> bool {
        self.0.doomed.load(Ordering::Relaxed) > 0
    }

    /// `machine` dies once it has taken so many steps.
    pub(super) fn doom(&self, machine: &str, after_steps: u32) {
        let mut left = self.steps_left();
        left.insert(machine.to_owned(), after_steps);
        self.0.doomed.store(left.len(), Ordering::Relaxed);
    }

    /// `machine` is a new process, or will not die after all.
    pub(super) fn spare(&self, machine: &str) {
        let mut left = self.steps_left();
        left.remove(machine);
        self.0.doomed.store(left.len(), Ordering::Relaxed);
    }

    /// Whether `machine` lives to take its next step.
    pub(super) fn survives(&self, machine: &str) -> bool {
        if !self.any() {
            return true;
        }
        match self.steps_left().get_mut(machine) {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    /// Whether `machine` is dead.
    pub(super) fn is_dead(&self, machine: &str) -> bool {
        self.any() && self.steps_left().get(machine) == Some(&0)
    }

    /// The machines that are dead.
    pub(super) fn dead(&self) -> Vec<String> {
        if !self.any() {
            return Vec::new();
        }
        let left = self.steps_left();
        let dead = left.iter().filter(|(_, left)| **left == 0);
        dead.map(|(machine, _)| machine.clone()).collect()
    }

    fn steps_left(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.0
            .steps_left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
