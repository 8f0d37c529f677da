//! One attempt of a call, one request to one instance, and who hears of their end.

use std::sync::Arc;

use env::{Instant, RequestContext};
use resilience::{Breaker, breaker::Permit};

use super::{
    condition::{Condition, Ended},
    members::{Member, Members},
};

/// A request whose end the breaker of the instance and the comparison of the instances hear of. One that is given up after its deadline
/// has failed; one that is given up before it says only that the instance takes at least so long.
pub(super) struct Call<'a> {
    members: &'a Members,
    member: &'a Member,
    permit: Option<Permit<&'a Breaker>>,
    begun: Instant,
    deadline: Option<Instant>,
    settled: bool,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        members: &'a Members,
        member: &'a Member,
        permit: Option<Permit<&'a Breaker>>,
    ) -> Self {
        Self {
            members,
            member,
            permit,
            begun: env::instant(),
            deadline: RequestContext::current_deadline(),
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
pub(super) struct Attempted<'a> {
    permit: Option<Permit<&'a Breaker>>,
    deadline: Option<Instant>,
}

impl<'a> Attempted<'a> {
    pub(super) fn new(permit: Option<Permit<&'a Breaker>>) -> Self {
        Self {
            permit,
            deadline: RequestContext::current_deadline(),
        }
    }

    pub(super) fn ended(mut self, how: Ended) {
        tell(self.permit.take(), how);
    }
}

impl Drop for Attempted<'_> {
    fn drop(&mut self) {
        if self.permit.is_some() && is_late(self.deadline) {
            tell(self.permit.take(), Ended::Badly);
        }
    }
}

fn tell(permit: Option<Permit<&Breaker>>, how: Ended) {
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
