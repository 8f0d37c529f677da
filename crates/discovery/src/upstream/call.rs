//! One call to one instance, and who hears of its end.

use std::sync::Arc;

use env::{Instant, RequestContext};
use resilience::breaker::Permit;

use super::{
    condition::Condition,
    members::{Member, Members},
};

/// A call whose end the breaker and the comparison of the instances hear of. One that is given up after its deadline
/// has failed; one that is given up before it says nothing of the instance.
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
        let permit = self.permit.take();
        if how == Ended::Otherwise {
            return;
        }
        match (permit, how) {
            (Some(permit), Ended::Well) => permit.succeeded(),
            (Some(permit), _) => permit.failed(),
            (None, _) => {}
        }
        let took = self.begun.elapsed();
        self.members.ended(self.member, how == Ended::Well, took);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let is_late = |deadline| env::instant() >= deadline;
        if !self.settled && self.deadline.is_some_and(is_late) {
            self.settle(Ended::Badly);
        }
    }
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
