//! What clients saw, and whether a correct system could have shown it to them.
//!
//! A history says what was asked, what was answered, and which of it was at the same time. It is judged alone: the
//! checkers know nothing of the system, so they find what no invariant on its data can say.
//!
//! | module | question |
//! |---|---|
//! | [`effects`] | did something happen twice? |
//! | [`order`] | was anything handled out of the order of its key? |
//! | [`linearizability`] | is there an order of all that was done in which every answer is right? |
//! | [`undo`] | was what was done undone in reverse, one at a time? |
//! | [`streams`] | the same of an event store: appends with expected versions, and reads |
//!
//! ```
//! use outrigger_testkit::history::{History, streams::{self, Answer, Call, Expected}};
//!
//! let mut history = History::default();
//! let append = history.called(("cart-7", Call::Append { expected: Expected::Version(0), events: vec![1] }));
//! let read = history.called(("cart-7", Call::Read));
//! history.answered(read, Answer::Events(vec![1])); // it may see an append that is under way
//! history.answered(append, Answer::Appended(1));
//! let late = history.called(("cart-7", Call::Read));
//! history.answered(late, Answer::Events(vec![]));  // but not lose it afterwards
//!
//! assert!(streams::check(&history).is_err());
//! ```

pub mod effects;
pub mod linearizability;
pub mod order;
pub mod streams;
pub mod undo;

/// Operations in the order in which they began and ended.
#[derive(Debug, Clone)]
pub struct History<C, A> {
    operations: Vec<Operation<C, A>>,
    now: u64,
}

/// Something that a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<C, A> {
    /// What was asked.
    pub call: C,
    /// When, on the clock of the history: it ticks with each call and each answer.
    pub called: u64,
    /// What was answered, and when. Without an answer it may have been done, then or at any later time, or never.
    pub answer: Option<(A, u64)>,
}

impl<C, A> Default for History<C, A> {
    fn default() -> Self {
        Self {
            operations: Vec::new(),
            now: 0,
        }
    }
}

impl<C, A> History<C, A> {
    /// Something is asked. The number is that of the operation.
    pub fn called(&mut self, call: C) -> usize {
        let called = self.tick();
        self.operations.push(Operation {
            call,
            called,
            answer: None,
        });
        self.operations.len() - 1
    }

    /// The operation with that number is answered. Nothing for a number that was not given.
    pub fn answered(&mut self, number: usize, answer: A) {
        let now = self.tick();
        if let Some(operation) = self.operations.get_mut(number) {
            operation.answer = Some((answer, now));
        }
    }

    /// The operations, by their calls.
    pub fn operations(&self) -> &[Operation<C, A>] {
        &self.operations
    }

    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }
}

impl<C, A> FromIterator<Operation<C, A>> for History<C, A> {
    fn from_iter<I: IntoIterator<Item = Operation<C, A>>>(operations: I) -> Self {
        let mut operations: Vec<_> = operations.into_iter().collect();
        operations.sort_by_key(|operation| operation.called);
        let answers = operations
            .iter()
            .filter_map(|operation| operation.answer.as_ref());
        let last = answers.map(|(_, answered)| *answered).max();
        let now = last.max(operations.last().map(|operation| operation.called));
        Self {
            operations,
            now: now.unwrap_or_default(),
        }
    }
}
