//! The seam of the bus: what a backend must do, and what every backend guarantees.
//!
//! - **Groups** are durable. Each event of the types that a group subscribed to reaches the group at least
//!   once (G2), shared among its subscriptions. A new group starts at the beginning of what the bus still has.
//! - **Order** (G4): within a group an event is not delivered while an earlier one of its key is unacknowledged,
//!   waits for its retry or is a dead letter. Events of different keys do not wait for each other.
//! - **Publishing is idempotent**: an id that the bus still has is taken once.
//! - What a dropped [`Subscription`] had taken and not settled is delivered again.
//!
//! `tests/conformance` holds every backend to this.

use std::{sync::Arc, time::Duration};

use env::Timestamp;
use futures::future::BoxFuture;

use crate::{CloudEvent, Result};

/// Carries events from those who publish to the groups that subscribe; see the [module](self).
pub trait Bus: Send + Sync + 'static {
    /// Takes `batch`, in its order, and resolves when it is durable. All of it is taken, or none.
    fn publish(&self, batch: Vec<CloudEvent>) -> BoxFuture<'_, Result<()>>;

    /// Joins `group`, for events of `types`: `order.created`, or `order.*` for all that begin so.
    ///
    /// The types are those of the whole group: a type that is added counts from now on, and what waits of a
    /// type that is left out is given up.
    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        types: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>>>;

    /// The dead letters of `group`, or of all groups, the oldest event first.
    fn dead_letters<'a>(&'a self, group: Option<&'a str>)
    -> BoxFuture<'a, Result<Vec<DeadLetter>>>;

    /// Delivers a dead letter again, its deliveries counted anew; what waited behind it follows in order.
    fn replay_dead_letter<'a>(&'a self, group: &'a str, id: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Gives up a dead letter; what waited behind it is delivered.
    fn drop_dead_letter<'a>(&'a self, group: &'a str, id: &'a str) -> BoxFuture<'a, Result<()>>;
}

/// A member of a group. Each [`Delivery`] that it takes must be settled: by [`ack`](Self::ack),
/// [`retry`](Self::retry) or [`dead_letter`](Self::dead_letter).
pub trait Subscription: Send + Sync {
    /// Waits for events and takes 1 to `limit` of them, no two of one key.
    ///
    /// Dropping the future before it resolves takes nothing.
    fn next(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Delivery>>>;

    /// The event is done with. The next of its key may come.
    fn ack<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>>;

    /// The event failed with `error` and is delivered again once `after` has passed, even if the bus restarts.
    fn retry<'a>(
        &'a self,
        delivery: &'a Delivery,
        after: Duration,
        error: &'a str,
    ) -> BoxFuture<'a, Result<()>>;

    /// The event failed with `error` for good. It is kept for an operator, and holds those of its key.
    fn dead_letter<'a>(
        &'a self,
        delivery: &'a Delivery,
        error: &'a str,
    ) -> BoxFuture<'a, Result<()>>;
}

/// An event on its way to a group.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event.
    pub event: Arc<CloudEvent>,
    /// 1 for the first attempt, one more after each retry. A delivery that a crash cut short does not count.
    pub attempt: u32,
    /// What the bus knows the delivery by.
    pub lease: i64,
}

/// An event that a group could not handle, as it was.
#[derive(Debug, Clone, serde::Serialize)]
pub struct DeadLetter {
    /// The group.
    pub group: String,
    /// The event.
    pub event: CloudEvent,
    /// Why it could not be handled the last time.
    pub error: String,
    /// How often it was delivered.
    pub attempts: u32,
    /// When it was given up.
    pub time: Timestamp,
    /// How many events of its key wait behind it.
    pub held: u64,
}
