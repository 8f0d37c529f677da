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
        let due = self.group.due(limit);
        let mut sequences: Vec<i64> = due.iter().map(|(_, sequence)| *sequence).collect();
        if sequences.len() < limit {
            // Those that are being handled are among the ready; so many more are read as there are of them.
            let most = limit + self.group.leased();
            sequences.extend(log::ready(&self.db, self.group.id, most).await?);
        }

        let mut taken: Vec<Delivery> = Vec::new();
        for sequence in sequences {
            let twice = taken.iter().any(|other| other.lease == sequence);
            if taken.len() == limit || twice || self.group.is_leased(sequence) {
                continue;
            }
            taken.extend(log::delivery(&self.db, self.group.id, sequence).await?);
        }
        let leases = taken.iter().map(|delivery| delivery.lease);
        self.group.lease(self.number, &due, leases);
        Ok(taken)
    }

    /// Writes how a delivery ended, and ends its lease. One that is not held any more was settled before.
    async fn settle(&self, delivery: &Delivery, end: log::End<'_>) -> Result<()> {
        let sequence = delivery.lease;
        if !self.group.holds(self.number, sequence) {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        let released = log::settle(&mut tx, self.group.id, delivery, &end).await?;
        tx.commit().await?;

        let _turn = self.group.turn.lock().await;
        let due = match end {
            log::End::Retry { after, .. } => Some(env::instant() + after),
            log::End::Handled | log::End::Dead { .. } => None,
        };
        self.group.settle(sequence, due);
        if released || due.is_some() {
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
        Box::pin(self.settle(delivery, log::End::Handled))
    }

    fn retry<'a>(
        &'a self,
        delivery: &'a Delivery,
        after: Duration,
        error: &'a str,
    ) -> BoxFuture<'a, Result<()>> {
        let after = after.min(LONGEST_RETRY);
        Box::pin(self.settle(delivery, log::End::Retry { after, error }))
    }

    fn dead_letter<'a>(
        &'a self,
        delivery: &'a Delivery,
        error: &'a str,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.settle(delivery, log::End::Dead { error }))
    }
}
