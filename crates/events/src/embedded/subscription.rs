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

/// See the [module](self).
pub(super) struct Embedded {
    db: Database,
    group: Arc<Group>,
    number: u64,
}

impl Embedded {
    pub(super) fn new(db: Database, group: Arc<Group>) -> Self {
        let number = group.enter();
        Self { db, group, number }
    }

    async fn wait(&self, limit: usize) -> Result<Vec<Delivery>> {
        let mut changes = self.group.changes();
        loop {
            changes.mark_unchanged();
            let taken = self.take(limit.clamp(1, MOST_TAKEN)).await?;
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

    async fn take(&self, limit: usize) -> Result<Vec<Delivery>> {
        let _turn = self.group.turn.lock().await;
        if self.group.is_paused() {
            return Ok(Vec::new());
        }
        self.group.expire();
        // What may not be taken is among the ready; so many more are read as there are of it.
        let most = limit + self.group.leased();
        let mut taken: Vec<Delivery> = Vec::new();
        for sequence in log::ready(&self.db, self.group.id, most).await? {
            if taken.len() == limit || self.group.is_leased(sequence) {
                continue;
            }
            taken.extend(log::delivery(&self.db, self.group.id, sequence).await?);
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

    /// Writes that an event is done with, and ends its lease. One that is not held any more was settled before.
    async fn settle(&self, delivery: &Delivery) -> Result<()> {
        let sequence = delivery.lease;
        if !self.group.holds(self.number, sequence) {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        let released = log::settle(&mut tx, self.group.id, delivery).await?;
        tx.commit().await?;

        let _turn = self.group.turn.lock().await;
        self.group.settle(sequence);
        if released {
            self.group.wake();
        }
        Ok(())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.group.leave(self.number);
    }
}

impl Subscription for Embedded {
    fn next(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        Box::pin(self.wait(limit))
    }

    fn ack<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.settle(delivery))
    }

    fn retry<'a>(&'a self, delivery: &'a Delivery, after: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let sequence = delivery.lease;
            if self.group.holds(self.number, sequence) {
                let due = env::instant() + after.min(LONGEST_RETRY);
                self.group.put_off(sequence, delivery.attempt, due);
            }
            Ok(())
        })
    }
}
