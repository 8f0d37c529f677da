//! A member of a group: what it was given and has not settled.
//!
//! **Asking.** While somebody waits in [`next`](Subscription::next), the [pump](super::pump) has a pull lie at the hub. What
//! comes when nobody waits any more is given back, so that a member that is busy keeps nothing from the others.
//!
//! **Settling.** What is settled while a request about others is under way goes with the next one, so that the hub's disk
//! syncs once for all of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use env::{Instant, chain};
use futures::future::BoxFuture;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    link::{self, Failure, Link},
    pump::Pump,
};
use crate::{CloudEvent, Delivery, Error, Result, Subscription};

/// How long after the last wait events are kept for the next one. A consumer that handles events waits again at once.
const LINGER: Duration = Duration::from_millis(50);
/// The most that is settled at once.
const MOST_SETTLED: usize = 1024;

/// See the [module](self).
pub(super) struct Member {
    shared: Arc<Shared>,
}

/// What a member and its pump share.
pub(super) struct Shared {
    pub(super) link: Arc<Link>,
    pub(super) group: String,
    pub(super) types: Vec<String>,
    pub(super) stop: CancellationToken,
    /// There is something for the pump to do.
    pub(super) work: Notify,
    /// Something came, or cannot come now.
    arrived: watch::Sender<()>,
    state: Mutex<State>,
    /// Held by whoever tells the hub what is settled.
    telling: tokio::sync::Mutex<()>,
}

pub(super) struct State {
    /// The membership, while the hub knows it.
    pub(super) session: Option<Session>,
    /// What came in this session and was not settled, as the hub calls it.
    held: BTreeMap<i64, String>,
    /// What of that nobody has taken yet, the first to come first.
    untaken: VecDeque<Delivery>,
    /// What the last that came is called here.
    last: i64,
    /// How much each of those that wait will take.
    waiting: Vec<usize>,
    /// Until when what comes is kept, though nobody waits.
    linger: Instant,
    /// Why nothing can come now.
    failure: Option<Error>,
    /// What the hub is to be told: delivered again after so long, or `None` where it is done with.
    settling: BTreeMap<i64, Option<Duration>>,
    /// Why the hub could not be told last.
    untold: String,
}

/// A membership at the hub.
#[derive(Clone)]
pub(super) struct Session {
    /// Its path.
    pub(super) path: Arc<str>,
    pub(super) lease: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Joined {
    member: String,
    lease_ms: u64,
}

impl Member {
    pub(super) async fn join(
        link: Arc<Link>,
        group: &str,
        types: &[String],
        stop: CancellationToken,
    ) -> Result<(Self, Pump)> {
        let shared = Arc::new(Shared {
            link,
            group: group.to_owned(),
            types: types.to_vec(),
            stop,
            work: Notify::new(),
            arrived: watch::Sender::default(),
            state: Mutex::new(State::new()),
            telling: tokio::sync::Mutex::default(),
        });
        shared.join().await?;
        let pump = Pump::new(Arc::clone(&shared));
        Ok((Self { shared }, pump))
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Becomes a member, of a group that wants the types from now on.
    pub(super) async fn join(&self) -> Result<Session, Failure> {
        let path = format!("{}/members", link::group(&self.group));
        let body = json!({ "types": self.types }).to_string();
        let joined = self.link.send(Method::POST, &path, body.into()).await?;
        let joined: Joined = link::read(&joined)?;
        let session = Session {
            path: format!("{path}/{}", joined.member).into(),
            lease: Duration::from_millis(joined.lease_ms),
        };
        self.state().session = Some(session.clone());
        Ok(session)
    }

    /// The hub does not know the session (any more): what it had given, it gives to others.
    pub(super) fn forget(&self, session: &str) {
        let mut state = self.state();
        if state
            .session
            .as_ref()
            .is_some_and(|it| *it.path == *session)
        {
            state.session = None;
            state.held.clear();
            state.settling.clear();
            state.untaken.clear();
        }
        drop(state);
        self.work.notify_one();
    }

    /// Takes what the hub has given in `session`.
    pub(super) fn take(&self, session: &Session, events: Vec<CloudEvent>) {
        let mut state = self.state();
        if state
            .session
            .as_ref()
            .is_none_or(|it| it.path != session.path)
        {
            // A settlement was refused meanwhile: the hub gives it to others.
            return;
        }
        state.failure = None;
        for event in events {
            state.arrive(event);
        }
        drop(state);
        self.arrived.send_replace(());
    }

    /// Tells whoever waits that nothing can come now.
    pub(super) fn fail(&self, failure: Failure) {
        self.state().failure = Some(failure.into());
        self.arrived.send_replace(());
    }

    /// Settles, together with what others settle meanwhile.
    async fn settle(&self, number: i64, again: Option<Duration>) -> Result<()> {
        {
            let mut state = self.state();
            if !state.held.contains_key(&number) {
                return Ok(());
            }
            state.settling.insert(number, again);
        }
        let _turn = self.telling.lock().await;
        let (numbers, settling) = {
            let state = self.state();
            if !state.held.contains_key(&number) {
                return Ok(());
            }
            if !state.settling.contains_key(&number) {
                // It was tried for all, and failed for all.
                let source = state.untold.clone().into();
                return Err(Error::Unavailable { source });
            }
            state.settling_with(number)
        };
        let told = self.tell(settling).await;
        let mut state = self.state();
        for number in numbers {
            state.settling.remove(&number);
            if told.is_ok() {
                state.held.remove(&number);
            }
        }
        told.map_err(|failure| {
            state.untold = chain(&failure);
            failure.into()
        })
    }

    /// Tells the hub how deliveries have ended.
    async fn tell(&self, settling: Settling) -> Result<(), Failure> {
        let Some(session) = settling.session else {
            return Ok(());
        };
        let path = format!("{}/settle", session.path);
        let body = json!({ "done": settling.done, "retry": settling.retry }).to_string();
        match self.link.send(Method::POST, &path, body.into()).await {
            Err(failure) if failure.is("unknown-member") => {
                self.forget(&session.path);
                Ok(())
            }
            told => told.map(drop),
        }
    }
}

/// What the hub is told at once.
struct Settling {
    /// `None` where there is nobody to tell it.
    session: Option<Session>,
    done: Vec<String>,
    retry: Vec<Value>,
}

impl State {
    fn new() -> Self {
        Self {
            session: None,
            held: BTreeMap::new(),
            untaken: VecDeque::new(),
            last: 0,
            waiting: Vec::new(),
            linger: env::instant(),
            failure: None,
            settling: BTreeMap::new(),
            untold: String::new(),
        }
    }

    fn arrive(&mut self, mut event: CloudEvent) {
        let lease = event.extensions.remove("deliverylease");
        let attempt = event.extensions.remove("deliveryattempt");
        // Without, it could never be settled; the next pull says that it is not held, and it is given again.
        let Some(Value::String(lease)) = lease else {
            return;
        };
        self.last += 1;
        self.held.insert(self.last, lease);
        let attempt = attempt.and_then(|attempt| attempt.as_u64());
        self.untaken.push_back(Delivery {
            event: Arc::new(event),
            attempt: attempt.map_or(1, |it| u32::try_from(it).unwrap_or(u32::MAX)),
            lease: self.last,
        });
    }

    /// What is to be settled, `own` and others; and how the hub is told.
    fn settling_with(&self, own: i64) -> (Vec<i64>, Settling) {
        let others = self.settling.keys().copied().filter(|it| *it != own);
        let numbers: Vec<i64> = std::iter::once(own)
            .chain(others.take(MOST_SETTLED))
            .collect();
        let (mut done, mut retry) = (Vec::new(), Vec::new());
        for number in &numbers {
            let (Some(lease), Some(again)) = (self.held.get(number), self.settling.get(number))
            else {
                continue;
            };
            match again {
                None => done.push(lease.clone()),
                Some(after) => {
                    let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                    retry.push(json!({ "lease": lease, "afterMs": after }));
                }
            }
        }
        let session = self.session.clone();
        let settling = Settling {
            session,
            done,
            retry,
        };
        (numbers, settling)
    }

    /// How much is to be asked for, where anything is.
    pub(super) fn wanted(&self) -> Option<usize> {
        let is_needed = self.untaken.is_empty();
        self.waiting.iter().copied().max().filter(|_| is_needed)
    }

    /// When nothing is wanted any more; `None` while somebody waits.
    pub(super) fn unwanted_at(&self) -> Option<Instant> {
        self.waiting.is_empty().then_some(self.linger)
    }

    pub(super) fn has_untaken(&self) -> bool {
        !self.untaken.is_empty()
    }

    /// Gives up what nobody has taken.
    pub(super) fn give_up_untaken(&mut self) {
        for delivery in std::mem::take(&mut self.untaken) {
            self.held.remove(&delivery.lease);
        }
    }

    /// What is held, as the hub calls it.
    pub(super) fn holds(&self) -> Vec<&str> {
        self.held.values().map(String::as_str).collect()
    }

    fn next(&mut self, limit: usize) -> Option<Result<Vec<Delivery>>> {
        if !self.untaken.is_empty() {
            let count = self.untaken.len().min(limit.max(1));
            return Some(Ok(self.untaken.drain(..count).collect()));
        }
        self.failure.take().map(Err)
    }
}

impl Subscription for Member {
    fn next(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Delivery>>> {
        Box::pin(async move {
            let mut arrived = self.shared.arrived.subscribe();
            let _waiting = Waiting::begin(&self.shared, limit);
            loop {
                arrived.mark_unchanged();
                if let Some(next) = self.shared.state().next(limit) {
                    return next;
                }
                // The sender is ours.
                _ = arrived.changed().await;
            }
        })
    }

    fn ack<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.shared.settle(delivery.lease, None))
    }

    fn retry<'a>(&'a self, delivery: &'a Delivery, after: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.shared.settle(delivery.lease, Some(after)))
    }
}

impl Drop for Member {
    /// The pump leaves the group.
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// That somebody waits, as long as it lives.
struct Waiting<'a> {
    shared: &'a Shared,
    limit: usize,
}

impl<'a> Waiting<'a> {
    fn begin(shared: &'a Shared, limit: usize) -> Self {
        let limit = limit.max(1);
        let mut state = shared.state();
        if state.waiting.is_empty() {
            // It was told of nobody, and may be over.
            state.failure = None;
        }
        state.waiting.push(limit);
        drop(state);
        shared.work.notify_one();
        Self { shared, limit }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let own = state.waiting.iter().position(|it| *it == self.limit);
        if let Some(own) = own {
            state.waiting.swap_remove(own);
        }
        if state.waiting.is_empty() {
            state.linger = env::instant() + LINGER;
        }
        drop(state);
        self.shared.work.notify_one();
    }
}
