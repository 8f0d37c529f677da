//! What the events of one thing say together.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Snapshots, Upcaster, Version};

/// A thing whose state is what has happened to it.
///
/// What may happen to it is decided by plain functions, which look at the state and return events.
pub trait Aggregate: Default + Send {
    /// What kind of thing it is: `order`. Its stream is named by it and its id (`order/7`), so it must stay.
    /// It must not contain `/`.
    const KIND: &'static str;
    /// What happens to it: an enum with `#[serde(tag = "type", content = "data")]`.
    type Event: Serialize + DeserializeOwned + Send + Sync;
    /// How events that were stored in earlier forms are brought to the present one. Default: there are none, and each
    /// type has schema version 1.
    const UPCASTERS: &'static [Upcaster] = &[];
    /// Whether long streams are loaded from a snapshot on: `Some(Snapshots::every(100))`, for a state that serde can
    /// write. Default: they are not.
    const SNAPSHOTS: Option<Snapshots<Self>> = None;

    /// Takes in what happened. It cannot be refused: it has happened.
    fn apply(&mut self, event: &Self::Event);
}

/// An aggregate as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded<A> {
    /// What its events say; the default where there are none.
    pub state: A,
    /// How many events that were: what to expect when more are appended.
    pub version: Version,
}

/// The name of the stream of the `A` that has this id.
pub fn stream<A: Aggregate>(id: &str) -> String {
    format!("{}/{id}", A::KIND)
}
