//! What was taken over: handled when it is due, the first of each key.

use std::{pin::pin, time::Duration};

use env::{Timestamp, chain};
use futures::{
    FutureExt, StreamExt,
    future::{Fuse, FusedFuture},
    stream::FuturesUnordered,
};

use super::{
    attempt::{Consumer, Failed, Failure, First},
    delivery::planned,
};
use crate::{
    CloudEvent, Result,
    deferred::{self, CHANNEL, Claimable, Due, Plan},
    handlers::Stance,
};

/// How often the table is looked at, whoever may have said that there is something in it: another replica, or an
/// operator's command, says nothing here.
const POLL: Duration = Duration::from_secs(1);
/// How much longer than one run of a handler may take an event is claimed for. A third of it is enough to say that it
/// still runs: it may run again, and others after it.
const CLAIM_MARGIN: Duration = Duration::from_secs(10);
/// How often it is looked whether something has waited too long for a handler.
const GIVE_UP: Duration = Duration::from_secs(60);

impl Consumer<'_> {
    /// Handles what is due until `shutdown`, and then finishes what it has begun.
    pub(super) async fn drive(&self) {
        let bound = self.options.concurrency.max(1);
        let mut changes = self.db.changes(CHANNEL);
        let mut running = FuturesUnordered::new();
        // Polled beside those that run, never instead of them: they may hold the connection that it waits for.
        let mut claiming = pin!(Fuse::terminated());
        let mut failures = 0;
        let mut look_at = env::instant();
        // What was due before could not have been claimed by a version that starts now, too.
        let mut give_up_at = env::instant() + self.options.unclaimed_limit;
        loop {
            let stopping = self.shutdown.is_cancelled();
            let is_looking = !claiming.is_terminated();
            tokio::select! {
                biased;
                () = self.shutdown.cancelled(), if !stopping => {}
                Some(()) = running.next() => look_at = env::instant(),
                () = env::sleep_until(look_at), if !stopping && !is_looking && running.len() < bound => {
                    // Should anything change while it looks, it looks again.
                    let now = env::instant();
                    look_at = now + POLL;
                    let gives_up = now >= give_up_at;
                    if gives_up {
                        give_up_at = now + GIVE_UP;
                    }
                    claiming.set(self.look(bound - running.len(), gives_up).fuse());
                }
                claimed = &mut claiming, if is_looking => match claimed {
                    Ok((claimed, next)) => {
                        failures = 0;
                        let pause = if claimed.is_empty() { next } else { Duration::ZERO };
                        look_at = look_at.min(env::instant() + pause);
                        running.extend(claimed.into_iter().map(|it| self.redeem(it)));
                    }
                    Err(error) => {
                        failures += 1;
                        let (group, error) = (self.group, chain(&error));
                        tracing::warn!(group, error, failures, "cannot look for deferred events");
                        look_at = env::instant() + self.options.backoff.delay(failures);
                    }
                },
                _ = changes.wait(), if !stopping => look_at = env::instant(),
                else => break,
            }
        }
    }

    async fn look(&self, limit: usize, gives_up: bool) -> Result<(Vec<Due>, Duration)> {
        if gives_up {
            self.give_up_unclaimed().await?;
        }
        self.claim(limit).await
    }

    /// Makes dead letters of what no version of the service that runs has a handler for.
    async fn give_up_unclaimed(&self) -> Result<()> {
        let before = env::now().saturating_sub(self.options.unclaimed_limit);
        let before = before.unwrap_or(Timestamp::MIN);
        let mut tx = self.db.begin().await?;
        let given_up = deferred::give_up(&mut tx, self.group, self.claimable(), before).await?;
        tx.commit().await?;
        if given_up > 0 {
            let group = self.group;
            tracing::error!(
                group,
                given_up,
                "dead letters: no handler has come for them"
            );
        }
        Ok(())
    }

    fn claimable(&self) -> Claimable<'_> {
        Claimable(&self.handlers)
    }

    /// For how long an event is claimed, unless it is prolonged.
    fn lease(&self) -> Duration {
        self.options.handler_limit + CLAIM_MARGIN
    }

    /// Claims what is due; and says when to look again, if that is nothing.
    async fn claim(&self, limit: usize) -> Result<(Vec<Due>, Duration)> {
        let mut claimed = Vec::new();
        let mut refused = None;
        for mut due in deferred::due(&self.db, self.group, self.claimable(), limit).await? {
            match self.try_to_claim(&mut due).await {
                Ok(true) => claimed.push(due),
                Ok(false) => {}
                // Mostly another replica that claims it too. What is claimed already must not be lost by it.
                Err(error) => refused = Some(error),
            }
        }
        if claimed.is_empty()
            && let Some(error) = refused
        {
            return Err(error);
        }
        let next = match deferred::next_due(&self.db, self.group, self.claimable()).await {
            Err(error) if claimed.is_empty() => return Err(error),
            next => next.ok().flatten(),
        };
        Ok((claimed, next.map_or(POLL, |next| until(next).min(POLL))))
    }

    async fn try_to_claim(&self, due: &mut Due) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let claimed = due.claim(&mut tx, self.group, self.lease()).await?;
        tx.commit().await?;
        Ok(claimed)
    }

    async fn redeem(&self, due: Due) {
        match &due.event {
            Ok(event) => {
                let work = self.handle(&due, event);
                let work = self.about(event, due.attempts, work);
                tokio::select! {
                    biased;
                    () = work => {}
                    () = self.keep(&due) => {}
                }
            }
            Err(error) => {
                let (group, id) = (self.group, &due.id);
                let error = chain(error);
                tracing::error!(group, id, error, "a deferred event cannot be read");
                let attempts = due.attempts;
                let plan = Plan::Dead { attempts, error };
                self.end(&due, End::Failed(&[], true, &plan)).await;
            }
        }
    }

    /// Keeps the claim, for as long as it is polled.
    async fn keep(&self, due: &Due) {
        loop {
            env::sleep(self.lease() / 3).await;
            if let Err(error) = self.try_to_prolong(due).await {
                let (group, id, error) = (self.group, &due.id, chain(&error));
                tracing::debug!(group, id, error, "cannot prolong the claim of an event");
            }
        }
    }

    async fn try_to_prolong(&self, due: &Due) -> Result<()> {
        let mut tx = self.db.begin().await?;
        due.prolong(&mut tx, self.group, self.lease()).await?;
        Ok(tx.commit().await?)
    }

    async fn handle(&self, due: &Due, event: &CloudEvent) {
        let started = env::instant();
        let most = self.options.max_deliveries;
        if self.handlers.stance(&event.kind) == Stance::LeftOut {
            return self.end(due, End::Handled).await;
        }
        let attempted = if due.attempts > most {
            // The last attempt that was allowed has not come to an end.
            Err(Failed {
                error: Failure::NeverEnded(most).into(),
                handlers: due.handlers.clone(),
                holds: true,
            })
        } else {
            self.attempt(event, &due.handlers, First::New).await
        };
        let (attempts, outcome) = (
            due.attempts,
            match attempted {
                Ok(outcome) => {
                    self.end(due, End::Handled).await;
                    outcome
                }
                Err(failed) => {
                    let plan = self.judge(event, due.attempts, &failed).unwrap_or_else(|| {
                        // Not its fault: it does not count.
                        let attempts = due.attempts - 1;
                        Plan::Retry {
                            after: self.options.backoff.delay(due.attempts),
                            attempts,
                            error: None,
                        }
                    });
                    let Failed {
                        handlers, holds, ..
                    } = &failed;
                    self.end(due, End::Failed(handlers, *holds, &plan)).await;
                    planned(&plan, &failed)
                }
            },
        );
        self.observe(event, attempts, outcome, started);
    }

    /// Writes how an attempt ended. Where that cannot be written now, the claim runs out, and the inbox knows what was
    /// done.
    async fn end<'a>(&'a self, due: &'a Due, end: End<'a>) {
        let written = self.write(|| Box::pin(self.try_to_end(due, end)));
        if let Err(error) = written.await {
            let (group, id, error) = (self.group, &due.id, chain(&error));
            tracing::warn!(group, id, error, "cannot write how a deferred event ended");
        }
    }

    async fn try_to_end(&self, due: &Due, end: End<'_>) -> Result<()> {
        let mut tx = self.db.begin().await?;
        match end {
            End::Handled => due.done(&mut tx, self.group).await?,
            End::Failed(handlers, holds, plan) => {
                due.failed(&mut tx, self.group, handlers, holds, plan)
                    .await?;
            }
        }
        Ok(tx.commit().await?)
    }
}

/// How an attempt ended.
#[derive(Clone, Copy)]
enum End<'a> {
    Handled,
    /// By these handlers; whether the later events of its key have to wait; and what becomes of it.
    Failed(&'a [String], bool, &'a Plan),
}

fn until(time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(env::now())).unwrap_or(Duration::ZERO)
}
