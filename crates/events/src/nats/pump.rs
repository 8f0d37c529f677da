//! What works for a member in the background: it asks for events, takes what comes, keeps the leases of what is being
//! handled, and makes good what a lost connection or a restarted server has undone.

use std::{sync::Arc, time::Duration};

use async_nats::{
    Message, StatusCode, Subject, Subscriber,
    jetstream::{self, AckKind},
};
use env::{Instant, chain};
use futures::StreamExt;
use tokio::sync::watch;

use super::{
    connection, group,
    group::Want,
    message, stream,
    subscription::{Held, Shared},
};
use crate::{Backoff, Error};

/// How long a partition is left alone when the server cannot serve a request for it.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked whether there is a connection again, should word of it be missed.
const LOOK: Duration = Duration::from_secs(1);
/// How long giving back may take at the end.
const GOODBYE: Duration = Duration::from_secs(2);
/// How consumers that are gone are made again.
const RESTORE: Backoff = Backoff {
    base: Duration::from_millis(100),
    limit: Duration::from_secs(5),
};

/// See the [module](self).
pub(super) struct Pump {
    shared: Arc<Shared>,
    inbox: Subscriber,
    connection: watch::Receiver<connection::State>,
    number: u64,
    /// When the leases of what is held are next prolonged.
    prolong_at: Instant,
    /// When consumers that are gone are to be made again, and how often that has failed.
    restore_at: Option<Instant>,
    failures: u32,
}

impl Pump {
    pub(super) fn new(shared: Arc<Shared>, inbox: Subscriber, number: u64) -> Self {
        let connection = shared.connection.watch();
        Self {
            shared,
            inbox,
            connection,
            number,
            prolong_at: env::instant(),
            restore_at: None,
            failures: 0,
        }
    }

    /// Works until the member is dropped, and gives back what it had not settled.
    pub(super) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        // Whatever it is at: the client has a bounded queue, and may have nobody to send to.
        if let Some(()) = stop.run_until_cancelled(self.work()).await {
            return;
        }
        // Whoever waits for what was held need not wait for its lease.
        let is_up = self.connection.borrow().up;
        if is_up && env::timeout(GOODBYE, self.leave()).await.is_err() {
            tracing::debug!(group = self.shared.group, "NATS did not hear the goodbye");
        }
    }

    /// Resolves when the client is closed.
    async fn work(&mut self) {
        loop {
            let wake_at = self.wake_at();
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                biased;
                Ok(()) = self.connection.changed() => self.reconnected().await,
                message = self.inbox.next() => match message {
                    Some(message) => self.take(message).await,
                    None => return,
                },
                () = shared.work.notified() => {}
                () = env::sleep_until(wake_at) => {}
            }
            if !self.connection.borrow().up {
                // What was said now would be said late, and fill the client's queue.
                continue;
            }
            self.give_back_untaken().await;
            self.prolong().await;
            self.restore().await;
            self.ask().await;
        }
    }

    fn wake_at(&self) -> Instant {
        if !self.connection.borrow().up {
            return env::instant() + LOOK;
        }
        let state = self.shared.state();
        let asked = state
            .partitions
            .iter()
            .filter_map(|partition| partition.asked);
        let asked = asked.filter(|_| state.wants_more(env::instant())).min();
        let times = [asked, state.give_back_at(), self.restore_at];
        let first = times.into_iter().flatten().min();
        first.map_or(self.prolong_at, |first| first.min(self.prolong_at))
    }

    async fn take(&mut self, message: Message) {
        if let Some(status) = message.status {
            // It came to the inbox, whose last token says whom it is about.
            let token = message.subject.rsplit('.').next();
            if let Some(number) = token.and_then(|token| token.parse().ok()) {
                self.refused(number, status, message.description.as_deref());
            }
            return;
        }
        let Some(reply) = message.reply.clone() else {
            return;
        };
        let message = jetstream::Message {
            message,
            context: self.shared.connection.jetstream.clone(),
        };
        // A delivery has the subject that it was published on; of its partition its consumer's name speaks.
        let info = message.info().ok().and_then(|info| {
            let (_, number) = info.consumer.rsplit_once('-')?;
            Some((number.parse().ok()?, info.stream_sequence, info.delivered))
        });
        let Some((number, sequence, attempt)) = info else {
            let subject = reply.as_str();
            tracing::warn!(subject, "NATS sent what is no delivery");
            return;
        };
        if let Some(partition) = self.shared.state().partition(number) {
            partition.asked = None;
        }
        let event = match message::read(message.headers.as_ref(), &message.payload) {
            Ok(event) => event,
            Err(error) => {
                // It can be no delivery, for it is no event. It stays in the stream, where it can be looked at.
                tracing::error!(
                    group = self.shared.group,
                    subject = message.subject.as_str(),
                    sequence,
                    error = chain(&error),
                    "a message on the bus is no CloudEvent; it is left out (see `nats stream get`)"
                );
                self.end(reply, AckKind::Term).await;
                return;
            }
        };
        match self.wants(number, &event.kind, sequence).await {
            Ok(true) => {}
            Ok(false) => return self.end(reply, AckKind::Ack).await,
            Err(error) => {
                let group = &self.shared.group;
                tracing::warn!(
                    group,
                    error = chain(&error),
                    "cannot see what the group wants"
                );
                return self.end(reply, AckKind::Nak(Some(PAUSE))).await;
            }
        }
        let lease = i64::try_from(sequence).unwrap_or(i64::MAX);
        let held = Held {
            partition: number,
            reply,
            event: Arc::new(event),
            attempt: u32::try_from(attempt.max(1)).unwrap_or(u32::MAX),
        };
        let mut state = self.shared.state();
        // One that is held already has come again because its lease had run out.
        if state.held.insert(lease, held).is_none() {
            state.untaken.push_back(lease);
        }
        drop(state);
        self.shared.arrived.notify_waiters();
    }

    /// Whether the group wants the event at `sequence`, which the filter has let through. Another replica may have added
    /// its type meanwhile, or the group may have been taken back.
    async fn wants(&self, number: u16, kind: &str, sequence: u64) -> Result<bool, Error> {
        let known = {
            let mut state = self.shared.state();
            state
                .partition(number)
                .map(|it| it.interest.wants(kind, sequence))
        };
        if known == Some(Want::Yes) {
            return Ok(true);
        }
        let shared = &self.shared;
        let interest = group::wanted_now(&shared.connection, &shared.group, number).await?;
        let want = interest.wants(kind, sequence);
        if let Some(partition) = shared.state().partition(number) {
            partition.interest = interest;
        }
        // What is not certain to be unwanted is handed on.
        Ok(want != Want::TooOld)
    }

    /// A request was answered without an event.
    fn refused(&mut self, number: u16, status: StatusCode, description: Option<&str>) {
        let now = env::instant();
        let ended = [StatusCode::NOT_FOUND, StatusCode::TIMEOUT].contains(&status);
        if let Some(partition) = self.shared.state().partition(number) {
            partition.asked = (!ended).then_some(now + PAUSE);
        }
        let deleted = description.is_some_and(|it| it.contains("Consumer Deleted"));
        if status == StatusCode::NO_RESPONDERS || deleted {
            self.restore_at.get_or_insert(now + PAUSE);
        }
        if !ended {
            let group = &self.shared.group;
            let status = status.as_u16();
            tracing::debug!(
                group,
                partition = number,
                status,
                description,
                "NATS gives nothing"
            );
        }
    }

    /// After a new connection: nothing that was asked on the old one counts, and what was told may not have arrived.
    async fn reconnected(&mut self) {
        let current = *self.connection.borrow_and_update();
        if !current.up || current.number == self.number {
            return;
        }
        self.number = current.number;
        let mut acknowledged = Vec::new();
        for partition in &mut self.shared.state().partitions {
            partition.asked = None;
            acknowledged.extend(partition.acknowledged.take());
        }
        for reply in acknowledged {
            self.end(reply, AckKind::Ack).await;
        }
        self.prolong_at = env::instant();
    }

    async fn give_back_untaken(&self) {
        let now = env::instant();
        let mut back = Vec::new();
        {
            let mut state = self.shared.state();
            if state.give_back_at().is_some_and(|at| at <= now) {
                while let Some(lease) = state.untaken.pop_front() {
                    back.extend(state.held.remove(&lease));
                }
            }
        }
        for held in back {
            self.end(held.reply, AckKind::Nak(None)).await;
        }
    }

    async fn prolong(&mut self) {
        let now = env::instant();
        if now < self.prolong_at {
            return;
        }
        self.prolong_at = now + self.shared.connection.target.options.lease / 3;
        for reply in self.replies() {
            self.end(reply, AckKind::Progress).await;
        }
    }

    /// Makes consumers again that are gone: an operator deleted them, or the server has lost its store.
    async fn restore(&mut self) {
        let now = env::instant();
        if self.restore_at.is_none_or(|at| at > now) {
            return;
        }
        let shared = &self.shared;
        let restored = async {
            let partitions = stream::ensure(&shared.connection).await?.partitions;
            let known = shared.state().interests();
            let (group, types) = (&shared.group, &shared.types);
            group::restore(&shared.connection, partitions, group, types, &known).await
        };
        self.restore_at = match restored.await {
            Ok(interests) => {
                self.failures = 0;
                shared.state().begin_anew(interests);
                None
            }
            Err(error) => {
                self.failures += 1;
                let group = &shared.group;
                tracing::warn!(
                    group,
                    error = chain(&error),
                    "cannot ask the bus for events"
                );
                Some(now + RESTORE.delay(self.failures))
            }
        };
    }

    async fn ask(&self) {
        let idle = self.shared.state().ask_now(env::instant());
        for partition in idle {
            if let Err(error) = self.shared.ask(partition).await {
                tracing::debug!(error = chain(&error), "NATS cannot be asked");
            }
        }
    }

    async fn leave(&mut self) {
        for reply in self.replies() {
            self.end(reply, AckKind::Nak(None)).await;
        }
        // What is on its way here would otherwise wait for its lease.
        if self.inbox.drain().await.is_ok() {
            while let Some(message) = self.inbox.next().await {
                if let (None, Some(reply)) = (message.status, message.reply) {
                    self.end(reply, AckKind::Nak(None)).await;
                }
            }
        }
        _ = self.shared.connection.client.flush().await;
    }

    fn replies(&self) -> Vec<Subject> {
        let state = self.shared.state();
        state.held.values().map(|held| held.reply.clone()).collect()
    }

    /// Best effort: what the server does not hear, it finds out when the lease runs out.
    async fn end(&self, reply: Subject, end: AckKind) {
        if let Err(error) = self.shared.tell(reply, end).await {
            tracing::debug!(error = chain(&error), "NATS cannot be told");
        }
    }
}
