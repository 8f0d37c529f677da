//! What the bus delivers: handled, or taken over into the service's database; then acknowledged.

use env::chain;

use super::{
    Outcome,
    attempt::{Consumer, Failed, First},
};
use crate::{
    CloudEvent, Delivery, Result, Subscription,
    deferred::{self, Burden, Plan, Standing, Taken},
    handlers::Stance,
    sequence,
};

/// From this delivery on an event is taken over before it is handled: it may be the one that ends the process
/// each time, and only there is that counted exactly.
const SUSPECT: u32 = 3;

impl Consumer<'_> {
    /// Deals with a delivery. False when the database cannot work, so that it is no use to take more.
    pub(super) async fn process(&self, bus: &dyn Subscription, delivery: Delivery) -> bool {
        let event = delivery.event.as_ref();
        let work = async {
            let started = env::instant();
            let outcome = self.take(event, delivery.attempt).await;
            let settled = match &outcome {
                Ok(_) => self.settle(bus, &delivery, false).await,
                Err(error) => {
                    let (group, id) = (self.group, &event.id);
                    let error = chain(error);
                    tracing::warn!(group, id, error, "the event stays on the bus for now");
                    self.settle(bus, &delivery, true).await
                }
            };
            let works = outcome.is_ok();
            if let (Ok(outcome), true) = (outcome, settled) {
                self.observe(event, delivery.attempt, outcome, started);
            }
            works
        };
        self.about(event, delivery.attempt, work).await
    }

    /// Handles an event or takes it over. An error means that neither could be done now.
    async fn take(&self, event: &CloudEvent, delivered: u32) -> Result<Outcome> {
        let stance = self.handlers.stance(&event.kind);
        if stance == Stance::LeftOut {
            return Ok(Outcome::Duplicate);
        }
        // Before anything is asked of the outside for it, or where it is to be taken over first, its standing has to be
        // known; otherwise the transaction of the handler looks, which is a statement less.
        let is_suspect = stance == Stance::Unknown || delivered >= SUSPECT;
        if !is_suspect && !self.handlers.matching(event).any(|entry| entry.prepares) {
            match self.attempt(event, &[], First::NewAndFree).await {
                Ok(Outcome::Duplicate) => {}
                attempted => return self.attempted(event, attempted).await,
            }
        }
        match deferred::standing(&self.db, self.group, event).await? {
            Standing::TakenOver => return Ok(Outcome::Duplicate),
            Standing::Held => {
                let taken = self.take_over(self.whole(event), &Plan::Wait).await?;
                if taken != Taken::NotHeld {
                    return Ok(outcome(taken, Outcome::Held));
                }
            }
            Standing::Free => {}
        }
        // What another version of the service handles keeps its place among those of its key.
        if is_suspect {
            let plan = Plan::Retry {
                after: std::time::Duration::ZERO,
                attempts: 0,
                error: None,
            };
            let taken = self.take_over(self.whole(event), &plan).await?;
            return Ok(outcome(taken, Outcome::Held));
        }
        let attempted = self.attempt(event, &[], First::New).await;
        self.attempted(event, attempted).await
    }

    /// What comes of the first attempt: what failed is taken over.
    async fn attempted(
        &self,
        event: &CloudEvent,
        attempted: Result<Outcome, Failed>,
    ) -> Result<Outcome> {
        let failed = match attempted {
            Ok(outcome) => return Ok(outcome),
            Err(failed) => failed,
        };
        match self.judge(event, 1, &failed) {
            Some(plan) => {
                let taken = self.take_over(self.burden(event, &failed), &plan).await?;
                Ok(outcome(taken, planned(&plan, &failed)))
            }
            None => Err(crate::Error::Unavailable {
                source: failed.error,
            }),
        }
    }

    /// The event with all its handlers.
    fn whole<'b>(&'b self, event: &'b CloudEvent) -> Burden<'b> {
        Burden {
            group: self.group,
            event,
            handlers: &[],
            holds: true,
        }
    }

    async fn take_over<'a>(&'a self, burden: Burden<'a>, plan: &'a Plan) -> Result<Taken> {
        self.write(|| Box::pin(self.try_to_take_over(burden, plan)))
            .await
    }

    async fn try_to_take_over(&self, burden: Burden<'_>, plan: &Plan) -> Result<Taken> {
        let mut tx = self.db.begin().await?;
        let taken = deferred::take_over(&mut tx, burden, plan).await?;
        match taken {
            Taken::Over => {
                let gap = sequence::note(&mut tx, self.group, burden.event).await?;
                tx.commit().await?;
                if let Some(gap) = gap {
                    gap.report();
                }
            }
            // Not before it is durable what was seen.
            Taken::Before | Taken::NotHeld => tx.rollback().await?,
        }
        Ok(taken)
    }

    /// Tells the bus, until it has heard it: an event that is not settled holds those of its key. False when the
    /// consumer has to stop before; the bus delivers it again, and the inbox knows it then.
    async fn settle(&self, bus: &dyn Subscription, delivery: &Delivery, again: bool) -> bool {
        let mut failures = 0;
        loop {
            let told = if again {
                let after = self.options.backoff.delay(delivery.attempt);
                bus.retry(delivery, after).await
            } else {
                bus.ack(delivery).await
            };
            let Err(error) = told else { return true };
            failures += 1;
            let (group, id) = (self.group, &delivery.event.id);
            tracing::warn!(group, id, error = chain(&error), "cannot settle an event");
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return false,
                () = env::sleep(self.options.backoff.delay(failures)) => {}
            }
        }
    }
}

fn outcome(taken: Taken, over: Outcome) -> Outcome {
    match taken {
        Taken::Over => over,
        Taken::Before | Taken::NotHeld => Outcome::Duplicate,
    }
}

pub(super) fn planned(plan: &Plan, failed: &Failed) -> Outcome {
    match plan {
        Plan::Dead { .. } if failed.is_expired() => Outcome::Expired,
        Plan::Wait => Outcome::Held,
        Plan::Retry { .. } => Outcome::Retried,
        Plan::Dead { .. } => Outcome::DeadLettered,
    }
}
