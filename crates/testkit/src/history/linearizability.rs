//! Linearizability: whether each operation could have happened at one instant between its call and its answer.
//!
//! The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with the memory of Lowe ("Testing
//! for Linearizability", 2017): what was done so far and the state that it led to are remembered, and not searched from
//! twice. To check a large history, check its independent parts, each alone: that is enough (Herlihy and Wing,
//! "Linearizability: A Correctness Condition for Concurrent Objects", 1990; Horn and Kroening call it P-compositionality).

use std::{collections::BTreeSet, fmt::Debug};

use super::{History, Operation};

/// More steps of the search than any honest history of a few hundred operations takes.
pub const STEPS: u64 = 5_000_000;

/// The system as it should be, one operation at a time.
pub trait Model {
    /// What it remembers.
    type State: Clone + Ord;
    /// What can be asked of it.
    type Call: Clone + Debug;
    /// What it can answer.
    type Answer: Clone + Debug;

    /// Where it begins.
    fn begin(&self) -> Self::State;

    /// Where `call` leads from `state` if it may be answered so; `None` if it may not. Without an answer: where it leads
    /// if it is done, and `None` if that changes nothing.
    fn step(
        &self,
        state: &Self::State,
        call: &Self::Call,
        answer: Option<&Self::Answer>,
    ) -> Option<Self::State>;
}

/// Why a history is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No order of the operations explains the answers.
    #[error(
        "no order explains the answers: at most {explained} of {all} can be put in one, then none of these fits: {}",
        stuck.join("; ")
    )]
    NotLinearizable {
        /// How many operations the longest order has.
        explained: usize,
        /// How many there are.
        all: usize,
        /// What could come next and does not fit.
        stuck: Vec<String>,
    },
    /// The search was given up.
    #[error("not decided after {steps} steps; check smaller parts")]
    Undecided {
        /// How many steps it took.
        steps: u64,
    },
}

/// Whether there is an order of the operations in which every answer is right, and in which what was answered before
/// another one was called comes before it. At most `limit` steps are searched; [`STEPS`] is plenty.
///
/// # Errors
/// [`Refused`].
pub fn check<M: Model>(
    model: &M,
    history: &History<M::Call, M::Answer>,
    limit: u64,
) -> Result<(), Refused> {
    let mut search = Search {
        model,
        operations: history.operations(),
        seen: BTreeSet::new(),
        furthest: Done::none(history.operations().len()),
    };
    search.run(limit)
}

struct Search<'a, M: Model> {
    model: &'a M,
    operations: &'a [Operation<M::Call, M::Answer>],
    seen: BTreeSet<(Done, M::State)>,
    /// The longest order found, for the explanation.
    furthest: Done,
}

impl<M: Model> Search<'_, M> {
    fn run(&mut self, limit: u64) -> Result<(), Refused> {
        let mut open = vec![(Done::none(self.operations.len()), self.model.begin())];
        let mut steps = 0;
        while let Some((done, state)) = open.pop() {
            if self.is_whole(&done) {
                return Ok(());
            }
            if done.count > self.furthest.count {
                self.furthest = done.clone();
            }
            for next in self.next(&done).collect::<Vec<_>>() {
                steps += 1;
                if steps > limit {
                    return Err(Refused::Undecided { steps: limit });
                }
                let operation = &self.operations[next];
                let answer = operation.answer.as_ref().map(|(answer, _)| answer);
                let Some(state) = self.model.step(&state, &operation.call, answer) else {
                    continue;
                };
                let reached = (done.and(next), state);
                if self.seen.insert(reached.clone()) {
                    open.push(reached);
                }
            }
        }
        Err(self.explain())
    }

    /// Everything that was answered has its place; what was not may never have been done.
    fn is_whole(&self, done: &Done) -> bool {
        let mut answered =
            (0..self.operations.len()).filter(|n| self.operations[*n].answer.is_some());
        answered.all(|number| done.has(number))
    }

    /// What may come next: what was called before anything else that is not done was answered.
    fn next<'s>(&'s self, done: &'s Done) -> impl Iterator<Item = usize> + 's {
        let undone = (0..self.operations.len()).filter(|number| !done.has(*number));
        let answers = undone
            .clone()
            .filter_map(|number| self.operations[number].answer.as_ref());
        let first = answers
            .map(|(_, answered)| *answered)
            .min()
            .unwrap_or(u64::MAX);
        undone.filter(move |number| self.operations[*number].called < first)
    }

    fn explain(&self) -> Refused {
        let stuck = self.next(&self.furthest).map(|number| {
            let Operation { call, answer, .. } = &self.operations[number];
            match answer {
                Some((answer, _)) => format!("{call:?} -> {answer:?}"),
                None => format!("{call:?} without an answer"),
            }
        });
        Refused::NotLinearizable {
            explained: self.furthest.count,
            all: self.operations.len(),
            stuck: stuck.collect(),
        }
    }
}

/// Which operations are in the order already.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Done {
    count: usize,
    bits: Vec<u64>,
}

impl Done {
    fn none(operations: usize) -> Self {
        Self {
            count: 0,
            bits: vec![0; operations.div_ceil(64)],
        }
    }

    fn has(&self, number: usize) -> bool {
        self.bits[number / 64] & (1 << (number % 64)) != 0
    }

    fn and(&self, number: usize) -> Self {
        let mut bits = self.bits.clone();
        bits[number / 64] |= 1 << (number % 64);
        Self {
            count: self.count + 1,
            bits,
        }
    }
}
