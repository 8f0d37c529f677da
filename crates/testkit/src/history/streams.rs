//! The event store as its clients may see it: streams that only grow, appends that expect a version, reads of all of it
//! (G6).
//!
//! Streams do not touch each other, so each is checked alone.

use std::{collections::BTreeMap, fmt::Debug};

use super::{
    History,
    linearizability::{self, Model, Refused, STEPS},
};

/// What can be asked of a stream. Events are known by numbers that their writers give them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// To add these events at the end.
    Append {
        /// What the writer believes the version to be.
        expected: Expected,
        /// The events.
        events: Vec<u64>,
    },
    /// To show all events.
    Read,
}

/// What a writer believes the version of a stream to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is.
    Any,
    /// This one; 0 is a stream without events.
    Version(u64),
}

/// What a stream can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The events are there; the version is now this.
    Appended(u64),
    /// The version is another one than expected, and nothing was added.
    Conflict,
    /// All events, in order.
    Events(Vec<u64>),
}

/// One stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stream;

impl Model for Stream {
    type State = Vec<u64>;
    type Call = Call;
    type Answer = Answer;

    fn begin(&self) -> Vec<u64> {
        Vec::new()
    }

    fn step(&self, state: &Vec<u64>, call: &Call, answer: Option<&Answer>) -> Option<Vec<u64>> {
        let version = state.len() as u64;
        match (call, answer) {
            (Call::Read, Some(Answer::Events(events))) => (events == state).then(|| state.clone()),
            (Call::Append { expected, events }, answer) => {
                let fits = match expected {
                    Expected::Any => true,
                    Expected::Version(expected) => *expected == version,
                };
                match (fits, answer) {
                    (true, None) => Some([state.as_slice(), events].concat()),
                    (true, Some(Answer::Appended(now))) => {
                        let longer = [state.as_slice(), events].concat();
                        (*now == longer.len() as u64).then_some(longer)
                    }
                    (false, Some(Answer::Conflict)) => Some(state.clone()),
                    _ => None,
                }
            }
            (Call::Read, _) => None,
        }
    }
}

/// A stream whose history is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stream {stream:?}: {refused}")]
pub struct Wrong<S: Debug> {
    /// Which one.
    pub stream: S,
    /// Why.
    pub refused: Refused,
}

/// Whether an event store could have answered so; each call says of which stream it is.
///
/// # Errors
/// The first stream that is wrong.
pub fn check<S: Ord + Clone + Debug>(history: &History<(S, Call), Answer>) -> Result<(), Wrong<S>> {
    let mut streams: BTreeMap<S, Vec<_>> = BTreeMap::new();
    for operation in history.operations() {
        let (stream, call) = &operation.call;
        let alone = super::Operation {
            call: call.clone(),
            called: operation.called,
            answer: operation.answer.clone(),
        };
        streams.entry(stream.clone()).or_default().push(alone);
    }
    for (stream, operations) in streams {
        let history = History::from_iter(operations);
        if let Err(refused) = linearizability::check(&Stream, &history, STEPS) {
            return Err(Wrong { stream, refused });
        }
    }
    Ok(())
}
