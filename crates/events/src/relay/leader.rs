//! What the relay that leads does: claims events, sends them, settles them with the next.

use std::mem;

use data::{
    Changes, Database, Engine, Leadership, Transaction,
    outbox::sending::{Claim, Unsent},
};
use env::chain;
use futures::FutureExt;

use super::{Options, Published};
use crate::{Bus, CloudEvent, Error, Result, error::is_conflict, sequence};

/// How many events are brought at once.
const BATCH: u32 = 256;
/// How often a claim that met another transaction runs at most.
const RUNS: u32 = 8;

pub(super) struct Leader<'a> {
    pub(super) db: &'a Database,
    pub(super) leadership: Leadership,
    pub(super) changes: Changes,
    bus: &'a dyn Bus,
    options: &'a Options,
    /// The last claim. What is claimed later has a higher one.
    claim: i64,
    /// Where those are that the bus has, which is not noted yet.
    sent: Vec<i64>,
    /// Whether something may be claimed and not settled.
    unsure: bool,
    /// Whether the bus refuses an event of that.
    refused: bool,
}

/// What was read from the outbox together.
#[derive(Default)]
struct Batch {
    events: Vec<CloudEvent>,
    /// Where they are in the outbox.
    places: Vec<i64>,
    /// Their [numbers](sequence), of those that have been claimed before.
    numbers: Vec<Option<i64>>,
    /// What cannot be sent.
    refused: Vec<Refusal>,
}

/// A place in the outbox, and why what is there cannot be sent.
type Refusal = (i64, String);

impl Batch {
    fn is_empty(&self) -> bool {
        self.places.is_empty() && self.refused.is_empty()
    }

    /// Whether there may be more that could not be read with it.
    fn is_full(&self) -> bool {
        self.places.len() + self.refused.len() >= BATCH as usize
    }

    fn numbered(mut self, numbers: Vec<Option<i64>>) -> Self {
        for (event, number) in self.events.iter_mut().zip(&numbers) {
            if let Some(number) = number {
                sequence::put(event, *number);
            }
        }
        Self { numbers, ..self }
    }
}

impl<'a> Leader<'a> {
    pub(super) fn new(
        db: &'a Database,
        bus: &'a dyn Bus,
        options: &'a Options,
        leadership: Leadership,
    ) -> Self {
        Self {
            db,
            leadership,
            changes: db.outbox_changed(),
            bus,
            options,
            claim: 0,
            sent: Vec::new(),
            unsure: true,
            refused: false,
        }
    }

    /// Brings everything that waits, and returns whether there was anything.
    pub(super) async fn bring(&mut self) -> Result<bool> {
        let brought = self.try_to_bring().await;
        if let Err(error) = &brought {
            self.unsure = true;
            self.refused = error.is_refusal();
        }
        brought
    }

    /// Whether everything is noted that the bus has.
    pub(super) fn is_settled(&self) -> bool {
        self.sent.is_empty()
    }

    async fn try_to_bring(&mut self) -> Result<bool> {
        // After an error they are read from the database.
        let mut sent = mem::take(&mut self.sent);
        if self.unsure {
            crate::install(self.db).await?;
            self.bring_claimed().await?;
            (self.unsure, self.claim) = (false, 0);
            sent.clear();
        }
        // From here on nothing is claimed but by this.
        let mut any = false;
        loop {
            let batch = self.read(self.db.outbox_waiting(BATCH).await?);
            if batch.is_empty() && sent.is_empty() {
                return Ok(any);
            }
            any |= !batch.is_empty();
            let goes_on = batch.is_full();
            sent = self.bring_next(batch, &sent).await?;
            if !goes_on && !self.is_woken() {
                self.sent = sent;
                return Ok(any);
            }
        }
    }

    /// Whether somebody has committed messages since it was last asked.
    fn is_woken(&mut self) -> bool {
        self.changes.wait().now_or_never().is_some()
    }

    /// Claims a batch, notes with that that the bus has what is at `sent`, and publishes. Returns where that was.
    async fn bring_next(&mut self, batch: Batch, sent: &[i64]) -> Result<Vec<i64>> {
        self.claim += 1;
        let mut runs = 1;
        let (tx, numbers) = loop {
            match self.claim(&batch, sent).await {
                Err(error) if runs < RUNS && is_conflict(&error) => runs += 1,
                claimed => break claimed?,
            }
        };
        let batch = batch.numbered(numbers);
        match tx.engine() {
            // The bus need not wait until the claim is durable: if it never is, the same events wait still, in the same
            // order, and get the same numbers.
            Engine::Sqlite => {
                let (published, claimed) = tokio::join!(self.publish(batch.events), tx.commit());
                claimed?;
                published?;
            }
            // Here one may become visible before them.
            _ => {
                tx.commit().await?;
                self.publish(batch.events).await?;
            }
        }
        Ok(batch.places)
    }

    /// The transaction that claims a batch, and the numbers of its events.
    async fn claim(&self, batch: &Batch, sent: &[i64]) -> Result<(Transaction, Vec<Option<i64>>)> {
        let mut tx = self.db.begin().await?;
        self.leadership.fence(&mut tx).await?;
        let events = batch.events.iter().zip(batch.numbers.iter().copied());
        let numbers = sequence::assign(&mut tx, events).await?;
        settle(&mut tx, sent, &batch.refused);
        let places = batch.places.iter().copied();
        let claims: Vec<Claim> = places.zip(numbers.iter().copied()).collect();
        tx.outbox_claim(self.claim, &claims);
        Ok((tx, numbers))
    }

    /// Sends what a leader before this has claimed and not settled, or this one before an error.
    async fn bring_claimed(&self) -> Result<()> {
        loop {
            let mut batch = self.read(self.db.outbox_claimed(BATCH).await?);
            if batch.is_empty() {
                return Ok(());
            }
            let numbers = mem::take(&mut batch.numbers);
            batch = batch.numbered(numbers);
            if self.refused {
                batch = self.publish_each(batch).await?;
            } else {
                self.publish(batch.events).await?;
            }
            let (sent, refused) = (&batch.places, &batch.refused);
            let work = async |mut tx: Transaction| {
                self.leadership.fence(&mut tx).await?;
                settle(&mut tx, sent, refused);
                Ok::<_, Error>(())
            };
            self.db.transaction(work).await?;
        }
    }

    fn read(&self, rows: Vec<Unsent>) -> Batch {
        let mut batch = Batch::default();
        for Unsent {
            sequence,
            message,
            number,
        } in rows
        {
            match CloudEvent::from_json(&message.payload) {
                Ok(event) => {
                    batch.events.push(event);
                    batch.places.push(sequence);
                    batch.numbers.push(number);
                }
                Err(error) => {
                    let error = self.set_aside(&message.id, &message.topic, &error);
                    batch.refused.push((sequence, error));
                }
            }
        }
        batch
    }

    /// Gives the bus one after the other, so that what it refuses keeps nothing else from it. What it has taken is
    /// left, without the events.
    async fn publish_each(&self, batch: Batch) -> Result<Batch> {
        let mut left = Batch {
            refused: batch.refused,
            ..Batch::default()
        };
        for (event, place) in batch.events.into_iter().zip(batch.places) {
            let (id, kind) = (event.id.clone(), event.kind.clone());
            match self.publish(vec![event]).await {
                Ok(()) => left.places.push(place),
                Err(error) if error.is_refusal() => {
                    let error = self.set_aside(&id, &kind, &error);
                    left.refused.push((place, error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(left)
    }

    async fn publish(&self, events: Vec<CloudEvent>) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let Some(observer) = &self.options.observer else {
            return self.bus.publish(events).await;
        };
        let kinds = events.iter().map(|event| event.kind.clone()).collect();
        let started = env::instant();
        let published = self.bus.publish(events).await;
        observer(&Published {
            kinds,
            outcome: match &published {
                Ok(()) => Ok(()),
                Err(error) if error.is_refusal() => Err("refused"),
                Err(_) => Err("unavailable"),
            },
            duration: env::instant() - started,
        });
        published
    }

    /// Says that an event is set aside, and returns why.
    fn set_aside(&self, id: &str, kind: &str, error: &Error) -> String {
        let (service, error) = (self.db.owner(), chain(error));
        tracing::error!(
            service,
            id,
            kind,
            error,
            "an event cannot be sent and is set aside; `outbox status` shows it"
        );
        error
    }
}

fn settle(tx: &mut Transaction, sent: &[i64], refused: &[Refusal]) {
    tx.outbox_sent(sent);
    for (place, error) in refused {
        tx.outbox_refuse(*place, error);
    }
}
