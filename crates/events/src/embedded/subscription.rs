//! A member of a group of the embedded bus.

use std::{sync::Arc, time::Duration};

use data::Database;
use futures::future::BoxFuture;

use super::{group::Group, log};
use crate::{Delivery, Result, Subscription};

/// How long a subscription waits before it looks by itself. A publisher that is torn down between its commit and
/// its word of it (a cancelled task, a simulated crash) wakes nobody.
const BACKSTOP: Duration = Duration::from_secs(5);

/// The longest that a retry can be put off.
const LONGEST_RETRY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The most events that are taken at once.
const MOST_TAKEN: usize = 1024;

/// A member of a group of the embedded bus. Dropping it gives back what it holds.
pub struct Member {
    db: Database,
    group: Arc<Group>,
    number: u64,
}

impl Member {
    pub(super) fn new(db: Database, group: Arc<Group>) -> Self {
        let number = group.enter();
        Self { db, group, number }
    }

    /// Waits for events and takes 1 to `limit` of them, no two of one key: as many as have `bytes` of JSON, and one in
    /// any case.
    ///
    /// Dropping the future before it resolves takes nothing.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub async fn next_within(&self, limit: usize, bytes: usize) -> Result<Vec<Delivery>> {
        let mut changes = self.group.changes();
        loop {
            changes.mark_unchanged();
            let taken = self.take(limit.clamp(1, MOST_TAKEN), bytes).await?;
            if !taken.is_empty() {
                return Ok(taken);
            }
            let backstop = env::instant() + BACKSTOP;
            let due = self
                .group
                .next_due()
                .map_or(backstop, |due| due.min(backstop));
            tokio::select! {
                biased;
                // The group lives as long as this, so its sender does.
                _ = changes.changed() => {}
                () = env::sleep_until(due) => {}
            }
        }
    }

    /// Whether this member holds what `lease` says.
    pub fn holds(&self, lease: i64) -> bool {
        self.group.holds(self.number, lease)
    }

    /// How much this member holds: events that it has taken and not settled.
    pub fn held(&self) -> usize {
        self.group.held(self.number)
    }

    /// Gives back what this member holds and `leases` do not name: nobody has begun to handle it.
    pub fn keep_only(&self, leases: &[i64]) {
        self.group
            .give_back(self.number, |lease| !leases.contains(&lease));
    }

    /// Gives back what `lease` says, if this member holds it: nobody has begun to handle it.
    pub fn give_back(&self, lease: i64) {
        self.group.give_back(self.number, |it| it == lease);
    }

    async fn take(&self, limit: usize, bytes: usize) -> Result<Vec<Delivery>> {
        let _turn = self.group.turn.lock().await;
        if self.group.is_paused() {
            return Ok(Vec::new());
        }
        self.group.expire();
        // What may not be taken is among the ready; so many more are read as there are of it.
        let most = limit + self.group.leased();
        let mut taken: Vec<Delivery> = Vec::new();
        let mut left = bytes;
        for sequence in log::ready(&self.db, self.group.id, most).await? {
            if self.group.is_leased(sequence) {
                continue;
            }
            let Some((delivery, size)) = log::delivery(&self.db, self.group.id, sequence).await?
            else {
                continue;
            };
            if size > left && !taken.is_empty() {
                break;
            }
            left = left.saturating_sub(size);
            taken.push(delivery);
            if taken.len() == limit {
                break;
            }
        }
        for delivery in &mut taken {
            let known = self.group.returned(delivery.lease).saturating_add(1);
            delivery.attempt = delivery.attempt.max(known);
        }
        self.count(&taken).await?;
        let leases = taken.iter().map(|it| (it.lease, it.attempt));
        self.group.lease(self.number, leases);
        Ok(taken)
    }

    /// Writes down, before they begin, the deliveries that may not be the first.
    async fn count(&self, taken: &[Delivery]) -> Result<()> {
        let is_counted = |it: &&Delivery| self.group.is_counted(it.lease);
        let counted: Vec<Delivery> = taken.iter().filter(is_counted).cloned().collect();
        if counted.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        log::count(&mut tx, self.group.id, &counted).await?;
        Ok(tx.commit().await?)
    }

    /// Writes that an event is done with, and ends its lease. One that is not held any more was settled before, or goes
    /// to another.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database); the lease is held then, and may be settled again.
    pub async fn settle(&self, lease: i64) -> Result<()> {
        if !self.holds(lease) {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        let released = log::settle(&mut tx, self.group.id, lease).await?;
        tx.commit().await?;

        let _turn = self.group.turn.lock().await;
        self.group.settle(lease);
        if released {
            self.group.wake();
        }
        Ok(())
    }

    /// Has an event that is held be delivered again once `after` has passed.
    pub fn put_off(&self, lease: i64, after: Duration) {
        let due = env::instant() + after.min(LONGEST_RETRY);
        self.group.put_off(self.number, lease, due);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.group.leave(self.number);
    }
}

impl Subscription for Member {
    fn next(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        Box::pin(self.next_within(limit, usize::MAX))
    }

    fn ack<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.settle(delivery.lease))
    }

    fn retry<'a>(&'a self, delivery: &'a Delivery, after: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.put_off(delivery.lease, after);
            Ok(())
        })
    }
}
