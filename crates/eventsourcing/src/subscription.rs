//! Following all events: first those that there are, then each as it comes.

use std::collections::{BTreeSet, VecDeque};

use futures::{Stream, stream};

use crate::{Position, Recorded, Result, Store, follow::Follow};

/// How many events are read at once, and so kept at most.
const PAGE: u32 = 500;

impl Store {
    /// Follows the events of all streams after the position `after`.
    ///
    /// ```
    /// # use outrigger_eventsourcing as eventsourcing;
    /// # use eventsourcing::{Position, Store};
    /// async fn follow(store: Store, seen: Position) -> eventsourcing::Result<()> {
    ///     let mut events = store.subscribe(seen).kinds(["order"]).types(["Confirmed"]);
    ///     loop {
    ///         let event = events.next().await?;
    ///         // … deal with it, and then write down where to go on:
    ///         let seen = events.position();
    /// #       _ = (event, seen);
    ///     }
    /// }
    /// ```
    pub fn subscribe(&self, after: Position) -> Subscription {
        Subscription {
            follow: Follow::new(self.database()),
            store: self.clone(),
            kinds: BTreeSet::new(),
            types: BTreeSet::new(),
            read: VecDeque::new(),
            position: after,
        }
    }
}

/// The events after a position, in their order, each once, without end.
///
/// It reads no faster than it is asked: a few hundred events at a time, and the next ones when those are gone. It keeps
/// nothing in the database; who wants to go on after a restart writes its [position](Self::position) down, best in
/// the transaction of what it does (as a [projection](mod@crate::projection) does).
#[derive(Debug)]
pub struct Subscription {
    store: Store,
    follow: Follow,
    kinds: BTreeSet<String>,
    types: BTreeSet<String>,
    read: VecDeque<Recorded>,
    position: Position,
}

impl Subscription {
    /// Lets events of other kinds of aggregates pass. Default: all kinds.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item: Into<String>>) -> Self {
        self.kinds.extend(kinds.into_iter().map(Into::into));
        self
    }

    /// Lets events of other types pass; a type has the name under which it was stored. Default: all types.
    #[must_use]
    pub fn types(mut self, types: impl IntoIterator<Item: Into<String>>) -> Self {
        self.types.extend(types.into_iter().map(Into::into));
        self
    }

    /// The next event, as soon as there is one. It may be cancelled without missing any.
    ///
    /// # Errors
    /// As [`Store::read_all`]. It may be asked again, and goes on where it was.
    pub async fn next(&mut self) -> Result<Recorded> {
        loop {
            while let Some(event) = self.read.pop_front() {
                self.position = event.position;
                if self.wants(&event) {
                    return Ok(event);
                }
            }
            self.read = self.store.read_all(self.position, PAGE).await?.into();
            if self.read.is_empty() {
                self.follow.wait().await;
            } else {
                self.follow.came();
            }
        }
    }

    /// Where it is: after the last event that was returned, or passed because nobody wants it.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The same as a [`Stream`]. An error does not end it.
    pub fn into_stream(self) -> impl Stream<Item = Result<Recorded>> + Send {
        stream::unfold(self, async |mut events| {
            let next = events.next().await;
            Some((next, events))
        })
    }

    fn wants(&self, event: &Recorded) -> bool {
        let any_or_in =
            |wanted: &BTreeSet<String>, name: &str| wanted.is_empty() || wanted.contains(name);
        any_or_in(&self.kinds, event.kind()) && any_or_in(&self.types, &event.name)
    }
}
