//! A member of a group: what it has asked for, has got and has not settled.
//!
//! **Asking.** For each partition one request for one event lies at the server, as long as somebody waits in
//! [`next`](Subscription::next). What comes when nobody waits any more is given back, so that a member that is busy
//! keeps nothing from the others.
//!
//! **Acknowledging.** An acknowledgement is sent and not waited for, and asks for the next event in the same message:
//! no round trip between two events of a partition but the one that brings the next. Only the loss of the connection
//! can lose it; since the server lets out one event of a partition at a time, it is then the last one, which is sent
//! again on the next connection. If even that fails, the event comes again before any other of its partition, and the
//! inbox knows it: redelivery harms nothing, and the order holds in any case.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{Subject, jetstream::AckKind};
use bytes::Bytes;
use env::Instant;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{connection::Connection, group::Interest, subject};
use crate::{CloudEvent, Delivery, Error, Result, Subscription};

/// How long a request lies at the server.
pub(super) const EXPIRES: Duration = Duration::from_secs(10);
/// When a request is taken for lost: some time after the server has dropped it.
const OVERDUE: Duration = Duration::from_secs(12);
/// How long after the last wait events are kept for the next one. A consumer that handles events waits again at once.
const LINGER: Duration = Duration::from_millis(20);

/// See the [module](self).
pub(super) struct Member {
    pub(super) shared: Arc<Shared>,
}

/// What a member and its [pump](super::pump) share.
pub(super) struct Shared {
    pub(super) connection: Connection,
    pub(super) group: String,
    pub(super) types: Vec<String>,
    /// Where the server answers: this, a dot, and the partition.
    pub(super) inbox: String,
    pub(super) stop: CancellationToken,
    /// Something came.
    pub(super) arrived: Notify,
    /// There is something for the pump to do.
    pub(super) work: Notify,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) partitions: Vec<Partition>,
    /// What came and was not settled, by its place in the stream.
    pub(super) held: BTreeMap<i64, Held>,
    /// What of that nobody has taken yet, the first to come first.
    pub(super) untaken: VecDeque<i64>,
    /// How many wait.
    waiting: usize,
    /// Until when more is wanted, though nobody waits.
    linger: Instant,
}

#[derive(Default)]
pub(super) struct Partition {
    pub(super) interest: Interest,
    /// Until when a request of ours lies at the server, or none is to be made.
    pub(super) asked: Option<Instant>,
    /// Where the last acknowledgement went.
    pub(super) acknowledged: Option<Subject>,
}

pub(super) struct Held {
    pub(super) partition: u16,
    /// Where it is settled.
    pub(super) reply: Subject,
    pub(super) event: Arc<CloudEvent>,
    pub(super) attempt: u32,
}

impl Partition {
    fn new(interest: Interest) -> Self {
        Self {
            interest,
            ..Self::default()
        }
    }
}

impl Shared {
    pub(super) fn new(
        connection: Connection,
        group: &str,
        types: &[String],
        interests: Vec<Interest>,
        stop: CancellationToken,
    ) -> Self {
        let inbox = connection.client.new_inbox();
        Self {
            connection,
            group: group.to_owned(),
            types: types.to_vec(),
            inbox,
            stop,
            arrived: Notify::new(),
            work: Notify::new(),
            state: Mutex::new(State {
                partitions: interests.into_iter().map(Partition::new).collect(),
                held: BTreeMap::new(),
                untaken: VecDeque::new(),
                waiting: 0,
                linger: env::instant(),
            }),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the server for an event of `partition`.
    pub(super) async fn ask(&self, partition: u16) -> Result<()> {
        let stream = &self.connection.target.options.stream;
        let consumer = subject::consumer(&self.group, partition);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        let client = &self.connection.client;
        let sent =
            client.publish_with_reply(subject, self.answer_to(partition), request("").into());
        sent.await.map_err(unavailable)
    }

    fn answer_to(&self, partition: u16) -> String {
        format!("{}.{partition}", self.inbox)
    }

    /// Tells the server how a delivery ended, where its `reply` says. While there is no connection it is told nothing:
    /// the lease runs out, and [an acknowledgement](Partition::acknowledged) is sent on the next one.
    pub(super) async fn tell(&self, reply: Subject, end: AckKind) -> Result<()> {
        if !self.connection.is_up() {
            return Ok(());
        }
        let payload = Bytes::from(end);
        let told = self.connection.client.publish(reply, payload);
        told.await.map_err(unavailable)
    }
}

impl State {
    /// Whether somebody waits, or will at once.
    pub(super) fn wants_more(&self, now: Instant) -> bool {
        self.waiting > 0 || now < self.linger
    }

    /// When what nobody takes is to be given back.
    pub(super) fn give_back_at(&self) -> Option<Instant> {
        (self.waiting == 0 && !self.untaken.is_empty()).then_some(self.linger)
    }

    /// The partitions to ask for an event now; they count as asked from here on.
    pub(super) fn ask_now(&mut self, now: Instant) -> Vec<u16> {
        if !self.wants_more(now) {
            return Vec::new();
        }
        let busy: Vec<u16> = self.held.values().map(|held| held.partition).collect();
        let mut idle = Vec::new();
        for (number, partition) in (0..).zip(&mut self.partitions) {
            let asked = partition.asked.is_some_and(|until| until > now);
            if !asked && !busy.contains(&number) {
                partition.asked = Some(now + OVERDUE);
                idle.push(number);
            }
        }
        idle
    }

    pub(super) fn partition(&mut self, number: u16) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::from(number))
    }

    pub(super) fn interests(&self) -> Vec<Interest> {
        let partitions = self.partitions.iter();
        partitions.map(|it| it.interest.clone()).collect()
    }

    /// After the consumers were made again, as many as there are now: nothing that was asked counts.
    pub(super) fn begin_anew(&mut self, interests: Vec<Interest>) {
        self.partitions
            .resize_with(interests.len(), Partition::default);
        for (partition, interest) in self.partitions.iter_mut().zip(interests) {
            partition.interest = interest;
            partition.asked = None;
        }
    }

    fn take(&mut self, limit: usize) -> Vec<Delivery> {
        let count = self.untaken.len().min(limit.max(1));
        let leases: Vec<i64> = self.untaken.drain(..count).collect();
        let delivery = |lease| {
            let held = self.held.get(&lease)?;
            Some(Delivery {
                event: Arc::clone(&held.event),
                attempt: held.attempt,
                lease,
            })
        };
        leases.into_iter().filter_map(delivery).collect()
    }
}

impl Subscription for Member {
    fn next(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        Box::pin(async move {
            let _waiting = Waiting::begin(&self.shared);
            loop {
                let arrived = self.shared.arrived.notified();
                let mut arrived = std::pin::pin!(arrived);
                // From here on no arrival is missed.
                arrived.as_mut().enable();
                let taken = self.shared.state().take(limit);
                if !taken.is_empty() {
                    return Ok(taken);
                }
                arrived.await;
            }
        })
    }

    fn ack<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let now = env::instant();
            let (reply, partition, more) = {
                let mut state = self.shared.state();
                let Some(held) = state.held.remove(&delivery.lease) else {
                    return Ok(());
                };
                let more = state.wants_more(now) && self.shared.connection.is_up();
                if let Some(partition) = state.partition(held.partition) {
                    partition.acknowledged = Some(held.reply.clone());
                    partition.asked = more.then_some(now + OVERDUE);
                }
                (held.reply, held.partition, more)
            };
            if !more {
                return self.shared.tell(reply, AckKind::Ack).await;
            }
            let client = &self.shared.connection.client;
            let answer = self.shared.answer_to(partition);
            let sent = client.publish_with_reply(reply, answer, request("+NXT ").into());
            sent.await.map_err(unavailable)
        })
    }

    fn retry<'a>(&'a self, delivery: &'a Delivery, after: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let Some(held) = self.shared.state().held.remove(&delivery.lease) else {
                return Ok(());
            };
            let delay = (!after.is_zero()).then_some(after);
            self.shared.tell(held.reply, AckKind::Nak(delay)).await?;
            self.shared.work.notify_one();
            Ok(())
        })
    }
}

impl Drop for Member {
    /// What was not settled is given back by the pump.
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// That somebody waits, as long as it lives.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.state().waiting += 1;
        shared.work.notify_one();
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting -= 1;
        state.linger = env::instant() + LINGER;
        if !state.untaken.is_empty() {
            self.0.work.notify_one();
        }
    }
}

/// A request for one event, after `verb`.
fn request(verb: &str) -> String {
    format!("{verb}{{\"batch\":1,\"expires\":{}}}", EXPIRES.as_nanos())
}

fn unavailable(error: async_nats::PublishError) -> Error {
    Error::Unavailable {
        source: error.into(),
    }
}
