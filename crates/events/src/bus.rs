//! The seam of the bus: what a backend must do, and what every backend guarantees.
//!
//! - **Groups** are durable. Each event of the types that a group wants reaches the group at least
//!   once (G2), shared among its subscriptions. A new group starts at the beginning of what the bus still has.
//! - **What a group wants** is all that its members have ever asked for. Who joins adds types and takes none away, for
//!   an older version of a service may join while a newer one is a member, too. So any member may be given
//!   what another asked for; [leaving out](Bus::leave_out) a type is an act of its own.
//! - **Order** (G4): within a group an event is not delivered while an earlier one of its key is not
//!   acknowledged. Events of different keys do not wait for each other for ever (a backend may let those of a
//!   partition wait for each other).
//! - **Publishing is idempotent**: an id that the bus still has is taken once. A batch that is published again after
//!   an error ends in the same order.
//! - What a dropped [`Subscription`] had taken and not acknowledged is delivered again.
//!
//! A bus delivers, and that is all. What becomes of an event that a handler cannot handle, its retries and its
//! [dead letter](crate::dead_letters), is a matter of the [consumer](crate::consumer) and the service's own database.
//!
//! `tests/conformance` holds every backend to this.

use std::{sync::Arc, time::Duration};

use env::Timestamp;
use futures::future::{self, BoxFuture};

use crate::{CloudEvent, Result};

/// Carries events from those who publish to the groups that subscribe; see the [module](self).
pub trait Bus: Send + Sync + 'static {
    /// Takes `batch`, in its order, and resolves when it is durable.
    ///
    /// After an error any part of it may have been taken, of each key a beginning; what is published once more, in
    /// the same order, is taken once. So whoever gets an error publishes again, or leaves it: nobody may conclude
    /// that nothing was taken. An error that [is a refusal](crate::Error::is_refusal) says that one of the events
    /// can never be taken; the others can be, without it.
    fn publish(&self, batch: Vec<CloudEvent>) -> BoxFuture<'_, Result<()>>;

    /// Joins `group`, for events of `types`: `order.created`, or `order.*` for all that begin so.
    ///
    /// What the group does not want yet counts from now on. What it wants already it goes on to want.
    fn subscribe<'a>(
        &'a self,
        group: &'a str,
        types: &'a [String],
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>>>;

    /// Has `group` want no more what it asked for with exactly these `types`, and gives up what waits of them. What
    /// another of its types covers, it still wants: without `order.*`, those of its `order.created` come as before.
    ///
    /// A group that is unknown, and a type that it does not want, are left as they are.
    fn leave_out<'a>(&'a self, group: &'a str, types: &'a [String]) -> BoxFuture<'a, Result<()>>;

    /// Delivers to `group` once more, in order by key, what the bus has taken from `since` on and still has.
    ///
    /// First the group is given nothing more, and what its members hold is waited for, for as long as a handler may
    /// take. Then `meanwhile` runs: what must be done while nobody of the group handles an event, such as forgetting
    /// that it has. If that fails, the group goes on where it was.
    fn rewind<'a>(
        &'a self,
        group: &'a str,
        since: Timestamp,
        meanwhile: BoxFuture<'a, Result<()>>,
    ) -> BoxFuture<'a, Result<()>>;

    /// How long after it was taken an event may still be delivered to a group that has acknowledged it; an inbox
    /// remembers it for longer than that. [`Duration::MAX`] for ever.
    fn retention(&self) -> BoxFuture<'_, Result<Duration>>;

    /// Ends every subscription, and waits until the bus has heard it, but not longer than 5 seconds: for a process that
    /// ends. Default: there is nobody else who must hear it.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(future::ready(()))
    }
}

/// A member of a group. Each [`Delivery`] that it takes must be settled, by [`ack`](Self::ack) or by
/// [`retry`](Self::retry).
pub trait Subscription: Send + Sync {
    /// Waits for events and takes 1 to `limit` of them, no two of one key.
    ///
    /// Dropping the future before it resolves takes nothing.
    fn next(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Delivery>>>;

    /// The event is done with. The next of its key may come.
    fn ack<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>>;

    /// The event could not be taken now, whatever it is (the database of the service is away). It is delivered
    /// again once `after` has passed, or when the bus has restarted.
    fn retry<'a>(&'a self, delivery: &'a Delivery, after: Duration) -> BoxFuture<'a, Result<()>>;
}

/// An event on its way to a group.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event.
    pub event: Arc<CloudEvent>,
    /// How often it was delivered, this time included. One that was cut short by a crash counts where the bus
    /// knows of it.
    pub attempt: u32,
    /// What the bus knows the delivery by.
    pub lease: i64,
}
