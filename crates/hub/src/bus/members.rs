//! Who is a member of which group, and until when.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use env::Instant;
use events::{Delivery, embedded};
use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;

use super::wire::{self, Joined, Pull, Settle, Settled};
use crate::{Error, Result};

/// The shortest and the longest lease that a member may ask for.
const LEASES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(10 * 60);
/// The most that a member holds at a time.
const MOST_HELD: usize = 1024;

pub(super) struct Members {
    limit: usize,
    lease: Duration,
    /// By id.
    sessions: Mutex<BTreeMap<String, Arc<Session>>>,
    end: CancellationToken,
}

/// One that has joined a group.
pub(super) struct Session {
    group: String,
    lease: Duration,
    member: embedded::Member,
    life: Mutex<Life>,
    /// Held by whoever takes events for it.
    turn: tokio::sync::Mutex<()>,
    /// It is no member any more, or the hub stops.
    gone: CancellationToken,
}

struct Life {
    /// How many of its requests are being served.
    asking: usize,
    /// When the last one ended.
    heard: Instant,
    /// Ends the pull that waits.
    pull: CancellationToken,
}

impl Members {
    pub(super) fn new(limit: usize, lease: Duration) -> Self {
        Self {
            limit,
            lease,
            sessions: Mutex::default(),
            end: CancellationToken::new(),
        }
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(
        &self,
        group: &str,
        member: embedded::Member,
        lease: Option<Duration>,
    ) -> Result<Joined> {
        let lease = lease.unwrap_or(self.lease);
        let lease = lease.clamp(*LEASES.start(), *LEASES.end());
        let mut sessions = self.sessions();
        if sessions.len() >= self.limit {
            return Err(Error::TooManyMembers { limit: self.limit });
        }
        let gone = self.end.child_token();
        let session = Session {
            group: group.to_owned(),
            lease,
            member,
            life: Mutex::new(Life {
                asking: 0,
                heard: env::instant(),
                pull: gone.child_token(),
            }),
            turn: tokio::sync::Mutex::default(),
            gone,
        };
        let id = env::id().to_string();
        sessions.insert(id.clone(), Arc::new(session));
        Ok(Joined {
            member: id,
            lease_ms: wire::millis(lease),
        })
    }

    pub(super) fn find(&self, group: &str, id: &str) -> Result<Arc<Session>> {
        let found = self.sessions().get(id).cloned();
        let found = found.filter(|session| session.group == group);
        found.ok_or_else(|| Error::UnknownMember {
            group: group.to_owned(),
            member: id.to_owned(),
        })
    }

    /// What it held goes to others. One that is not there is well.
    pub(super) fn leave(&self, group: &str, id: &str) {
        let mut sessions = self.sessions();
        if sessions.get(id).is_some_and(|it| it.group == group)
            && let Some(session) = sessions.remove(id)
        {
            drop(sessions);
            session.gone.cancel();
        }
    }

    /// How many members a group has.
    pub(super) fn of(&self, group: &str) -> usize {
        let sessions = self.sessions();
        sessions.values().filter(|it| it.group == group).count()
    }

    /// Ends the membership of those who give no sign of life.
    pub(super) fn sweep(&self) {
        let now = env::instant();
        let mut silent = Vec::new();
        self.sessions().retain(|_, session| {
            let is_silent = session.is_silent(now);
            if is_silent {
                silent.push(Arc::clone(session));
            }
            !is_silent
        });
        for session in silent {
            let (group, held) = (&session.group, session.member.held());
            tracing::warn!(group, held, "a member of a group was silent for too long");
            session.gone.cancel();
        }
    }

    /// Ends every pull; none comes after.
    pub(super) fn end(&self) {
        self.end.cancel();
    }
}

impl Session {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silent(&self, now: Instant) -> bool {
        let life = self.life();
        life.asking == 0 && now.saturating_duration_since(life.heard) > self.lease
    }

    fn asks(&self) -> Asking<'_> {
        self.life().asking += 1;
        Asking(self)
    }

    /// Ends the pull that waits, and has the next one be ended by what it returns.
    fn supersede(&self) -> CancellationToken {
        let own = self.gone.child_token();
        let before = std::mem::replace(&mut self.life().pull, own.clone());
        before.cancel();
        own
    }

    /// Waits for events. None have come when it is over without.
    pub(super) async fn pull(&self, pull: &Pull) -> Result<Vec<Delivery>> {
        let _asking = self.asks();
        let own = self.supersede();
        let taking = async {
            let _turn = self.turn.lock().await;
            self.member.keep_only(&pull.holds());
            let free = MOST_HELD.saturating_sub(self.member.held());
            if free == 0 {
                return Err(Error::HoldsTooMuch { limit: MOST_HELD });
            }
            let limit = pull.limit().min(free);
            let taken = self.member.next_within(limit, pull.bytes());
            match env::timeout(pull.wait(), taken).await {
                Ok(taken) => Ok(taken?),
                Err(_) => Ok(Vec::new()),
            }
        };
        let taken = own.run_until_cancelled(taking).await;
        taken.unwrap_or(Err(Error::PullEnded))
    }

    /// The member lives; where it says what it holds, the rest is given back.
    pub(super) async fn heartbeat(&self, holds: Option<&[i64]>) {
        let _asking = self.asks();
        if let Some(holds) = holds {
            self.supersede();
            let _turn = self.turn.lock().await;
            self.member.keep_only(holds);
        }
    }

    /// Ends what the member has taken. Returns what it does not hold (any more).
    pub(super) async fn settle(&self, settle: &Settle) -> Result<Settled> {
        let _asking = self.asks();
        let is_lost = |lease: &&String| !wire::lease(lease).is_some_and(|it| self.member.holds(it));
        let lost = settle.leases().filter(is_lost).cloned().collect();
        for lease in settle.untouched.iter().filter_map(|it| wire::lease(it)) {
            self.member.give_back(lease);
        }
        for put_off in &settle.retry {
            if let Some(lease) = wire::lease(&put_off.lease) {
                let after = Duration::from_millis(put_off.after_ms);
                self.member.put_off(lease, after);
            }
        }
        // At the same time, so that they share the disk's syncs.
        let done = settle.done.iter().filter_map(|it| wire::lease(it));
        try_join_all(done.map(|lease| self.member.settle(lease))).await?;
        Ok(Settled { lost })
    }
}

/// A request of a member, while it is served.
struct Asking<'a>(&'a Session);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut life = self.0.life();
        life.asking -= 1;
        life.heard = env::instant();
    }
}
