//! One call to one instance, and who hears of its end.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use env::Instant;
use resilience::breaker::Permit;

/// A call whose end the breaker hears of. One that is given up after its deadline has failed; one that is given up
/// before it says nothing of the instance.
pub(super) struct Call {
    permit: Option<Permit>,
    deadline: Instant,
}

/// What the end of a call says of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Well,
    Badly,
    /// It was not for the instance that it ended so.
    Otherwise,
}

impl Call {
    pub(super) fn new(permit: Permit, deadline: Instant) -> Self {
        Self {
            permit: Some(permit),
            deadline,
        }
    }

    pub(super) fn ended(mut self, how: Ended) {
        match (self.permit.take(), how) {
            (Some(permit), Ended::Well) => permit.succeeded(),
            (Some(permit), Ended::Badly) => permit.failed(),
            _ => {}
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take()
            && env::instant() >= self.deadline
        {
            permit.failed();
        }
    }
}

/// Counts a request as under way until it is dropped.
pub(super) struct Flight(Arc<AtomicUsize>);

impl Flight {
    pub(super) fn new(in_flight: &Arc<AtomicUsize>) -> Self {
        in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(in_flight))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
