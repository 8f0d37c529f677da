//! One attempt of a call, one request to one instance, and who hears of their end.

use std::sync::Arc;

use env::{Instant, RequestContext};
use resilience::breaker::Permit;

use super::{
    condition::Condition,
    members::{Member, Members},
};

/// A request whose end the breaker of the instance and the comparison of the instances hear of. One that is given up after its deadline
/// has failed; one that is given up before it says only that the instance takes at least so long.
pub(super) struct Call<'a> {
    members: &'a Members,
    member: &'a Member,
    permit: Option<Permit>,
    begun: Instant,
    deadline: Option<Instant>,
    settled: bool,
}

/// What the end of a call says of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Well,
    Badly,
    /// It did not do what it was asked for, and said so in time: it has too much to do, or what it needs itself fails.
    /// That may be so only of this one, so it is compared with the others; but nothing is broken that a breaker, which
    /// would take it away from all other calls too, had to wait for.
    Refused,
    /// The caller stopped waiting before its time was over: it takes at least so long.
    GivenUp,
    /// It was not for the instance that it ended so.
    Otherwise,
}

impl<'a> Call<'a> {
    pub(super) fn new(members: &'a Members, member: &'a Member, permit: Option<Permit>) -> Self {
        Self {
            members,
            member,
            permit,
            begun: env::instant(),
            deadline: RequestContext::current().deadline,
            settled: false,
        }
    }

    pub(super) fn ended(mut self, how: Ended) {
        self.settle(how);
    }

    fn settle(&mut self, how: Ended) {
        self.settled = true;
        tell(self.permit.take(), how);
        self.members.ended(self.member, how, self.begun.elapsed());
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.settle(match is_late(self.deadline) {
            true => Ended::Badly,
            false => Ended::GivenUp,
        });
    }
}

/// An attempt whose end the breaker of the service hears of, whichever instances it was made to. One that is given up
/// after its deadline has failed.
pub(super) struct Attempted {
    permit: Option<Permit>,
    deadline: Option<Instant>,
}

impl Attempted {
    pub(super) fn new(permit: Option<Permit>) -> Self {
        Self {
            permit,
            deadline: RequestContext::current().deadline,
        }
    }

    pub(super) fn ended(mut self, how: Ended) {
        tell(self.permit.take(), how);
    }
}

impl Drop for Attempted {
    fn drop(&mut self) {
        if self.permit.is_some() && is_late(self.deadline) {
            tell(self.permit.take(), Ended::Badly);
        }
    }
}

fn tell(permit: Option<Permit>, how: Ended) {
    match (permit, how) {
        (Some(permit), Ended::Well) => permit.succeeded(),
        (Some(permit), Ended::Badly) => permit.failed(),
        _ => {}
    }
}

fn is_late(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| env::instant() >= deadline)
}

/// Counts a request as under way until it is dropped.
pub(super) struct Flight(Arc<Condition>);

impl Flight {
    pub(super) fn new(condition: &Arc<Condition>) -> Self {
        condition.begun();
        Self(Arc::clone(condition))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.ended();
    }
}
