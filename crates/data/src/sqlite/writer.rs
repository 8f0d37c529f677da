//! Whose turn it is to write, and when a group closes.
//!
//! The one [`Session`] lies in a slot. Who finds the slot full and nobody waiting takes it;
//! everybody else queues, and the queue is served in order. Whoever gives the session back decides
//! about the group that is open in it:
//!
//! - somebody is waiting: it stays open for them, unless it is [full](Session::is_full);
//! - nobody is: it closes, unless its giver **lingers**, that is, promises to come back and
//!   [close it](Writer::close_idle).
//!
//! So an open group is always in somebody's care: of the one who holds the session, of one who
//! waits for it, or of a member that lingers. Each of the three, when it is dropped, looks after
//! the group (a cancelled wait too). No member waits for an acknowledgement that does not come.
//!
//! When it has closed, and enough is in the log, a task is begun that [folds](super::folding) it.
//!
//! The lock around the slot and the queue is never held during a statement, nor while a waker is
//! called or dropped, which may run anything. Wakers are all that it uses of the async world, so
//! those who wait may live on different runtimes.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use tokio::sync::Notify;

use super::{
    folding::{self, Growth},
    session::Session,
};
use crate::{Error, Result};

/// At most this many transactions wait for the writer of a database; see [`Error::Overloaded`].
pub const QUEUE_LIMIT: usize = 4096;

pub(super) struct Writer {
    desk: Mutex<Desk>,
    this: Weak<Self>,
    /// Urges the task that folds the log.
    urge: Arc<Notify>,
}

struct Desk {
    session: Option<Box<Session>>,
    /// Those who wait, by the number that they drew.
    queue: BTreeMap<u64, Waker>,
    next: u64,
    growth: Growth,
    /// A task folds the log, or is waiting to.
    is_folding: bool,
}

/// Whether who gives the session back will come again and [close](Writer::close_idle) what nobody
/// else does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Giver {
    Leaves,
    Lingers,
}

impl Writer {
    pub(super) fn new(session: Session) -> Arc<Self> {
        let desk = Desk {
            session: Some(Box::new(session)),
            queue: BTreeMap::new(),
            next: 0,
            growth: Growth::default(),
            is_folding: false,
        };
        Arc::new_cyclic(|this| Self {
            desk: Mutex::new(desk),
            this: Weak::clone(this),
            urge: Arc::default(),
        })
    }

    /// Waits for the session. It must be [given back](Self::release).
    pub(super) fn acquire(&self) -> Turn<'_> {
        Turn {
            writer: self,
            number: None,
            limit: QUEUE_LIMIT,
        }
    }

    /// As [`acquire`](Self::acquire), however many wait already: for what must be done at times.
    pub(super) fn acquire_always(&self) -> Turn<'_> {
        Turn {
            writer: self,
            number: None,
            limit: usize::MAX,
        }
    }

    pub(super) fn growth(&self) -> Growth {
        self.desk().growth
    }

    /// The task that folded the log is gone.
    pub(super) fn fold_ended(&self) {
        self.desk().is_folding = false;
    }

    /// Gives the session back.
    pub(super) fn release(&self, mut session: Box<Session>, giver: Giver) {
        loop {
            let mut desk = self.desk();
            let awaited = giver == Giver::Lingers || !desk.queue.is_empty();
            if !session.is_open() || (awaited && !session.is_full()) {
                desk.growth = session.growth();
                desk.session = Some(session);
                let first = desk.queue.first_key_value().map(|(_, waker)| waker.clone());
                let fold = desk.growth.is_enough() && !desk.is_folding;
                let urge = desk.growth.is_too_much();
                desk.is_folding |= fold;
                drop(desk);
                if fold && !folding::begin(&self.this, Arc::clone(&self.urge)) {
                    self.fold_ended();
                }
                if urge {
                    self.urge.notify_one();
                }
                if let Some(first) = first {
                    first.wake();
                }
                return;
            }
            drop(desk);
            session.close();
        }
    }

    /// Closes the group when the session lies idle and nobody waits for it. When somebody holds it
    /// or waits, the group is in their care.
    pub(super) fn close_idle(&self) {
        let session = self.desk().session.take();
        if let Some(session) = session {
            self.release(session, Giver::Leaves);
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Nothing is done under the lock that could leave it half done.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue. When it is dropped, the next one moves up.
pub(super) struct Turn<'w> {
    writer: &'w Writer,
    number: Option<u64>,
    /// How many may wait before it.
    limit: usize,
}

impl Future for Turn<'_> {
    type Output = Result<Box<Session>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut desk = self.writer.desk();
        let first = desk.queue.first_key_value().map(|(number, _)| *number);
        if first == self.number
            && let Some(session) = desk.session.take()
        {
            let waker = self
                .number
                .take()
                .and_then(|number| desk.queue.remove(&number));
            drop(desk);
            drop(waker);
            return Poll::Ready(Ok(session));
        }
        if self.number.is_none() && desk.queue.len() >= self.limit {
            return Poll::Ready(Err(Error::Overloaded {
                waiting: desk.queue.len(),
            }));
        }
        let number = self.number.unwrap_or(desk.next);
        desk.next = desk.next.max(number + 1);
        let waker = desk.queue.insert(number, context.waker().clone());
        drop(desk);
        drop(waker);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.writer.desk().queue.remove(&number);
            drop(waker);
            self.writer.close_idle();
        }
    }
}
