//! What a function does, in words: for comparing its journal with its code, and for people.

use std::fmt;

use crate::Entry;

/// Something that a function does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed<'a> {
    Call(&'a str),
    Child(&'a str),
    BackOff(u32),
    Retry(u32),
    Wait(&'a str),
    Sleep,
    Deadline,
    PastReturn,
    Version(&'a str),
    Record(&'a str),
}

impl fmt::Display for Deed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(topic) => write!(f, "a call of `{topic}`"),
            Self::Child(saga) => write!(f, "a child saga `{saga}`"),
            Self::BackOff(of) => write!(f, "a pause before step {of} is tried again"),
            Self::Retry(of) => write!(f, "another attempt at step {of}"),
            Self::Wait(event) => write!(f, "a wait for `{event}`"),
            Self::Sleep => f.write_str("a sleep"),
            Self::Deadline => f.write_str("a deadline"),
            Self::PastReturn => f.write_str("the point of no return"),
            Self::Version(name) => write!(f, "the version `{name}`"),
            Self::Record(what) => write!(f, "a recorded {what}"),
        }
    }
}

/// A line of a timeline.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(seq), Some(deed)) = (self.made_at(), self.deed()) {
            return write!(f, "step {seq}: {deed}");
        }
        match self {
            Self::Undoing { seq, of } => write!(f, "step {seq}: step {of} is being undone"),
            Self::Replied { seq, reply } => write!(f, "step {seq} was done: {reply}"),
            Self::Refused { seq, failure } => write!(f, "step {seq} was refused: {failure}"),
            Self::Elapsed { seq } => write!(f, "step {seq}: its time was over"),
            Self::Signalled { seq, data } => write!(f, "step {seq}: the signal came: {data}"),
            Self::Skipped { seq, reason, reply } => {
                write!(f, "step {seq} was skipped with {reply}: {reason}")
            }
            Self::Left { seq } => write!(f, "step {seq}: the code does not wait for it any more"),
            Self::Overdue => f.write_str("the time was over that it was given"),
            // Its code says no more than that.
            Self::Cancelled { failure } => write!(f, "cancelled: {}", failure.detail),
            Self::Ended { failure: None } => f.write_str("the function succeeded"),
            Self::Ended {
                failure: Some(failure),
            } => write!(f, "the function failed: {failure}"),
            Self::Resumed => f.write_str("retried by an operator"),
            Self::Unreadable { line, .. } => write!(f, "cannot be read: {line}"),
            // They are made, and have a deed.
            _ => f.write_str("unknown"),
        }
    }
}
