//! Appends that are committed together: while one transaction is under way, those that come are gathered for the next.
//!
//! They share the transaction and nothing else. Whether an expectation is right is decided for each by itself, against
//! what those before it in the same transaction have appended. What the database refuses for the sake of one (a text
//! that it cannot store) is run again with each alone, so that the others do not pay for it.
//!
//! The ends of streams are not looked up where expectations state them: the insert itself finds out whether they are so,
//! and where they are not, the transaction is run again with a look.
//!
//! One transaction is under way at a time: each costs a sync of the disk, and syncs follow one another, so two would
//! only be half as large. It is run by a task of its own, so that whoever is cancelled while they wait takes nobody with
//! them.

use std::{
    collections::VecDeque,
    fmt, io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use data::{Database, QUEUE_LIMIT, Transaction};
use tokio::{sync::oneshot, task};

use crate::{
    Batch, Error, Metadata, Result, Version,
    append::{Heads, heads, seal, write, write_unseen},
};

/// How many events one transaction takes at most, unless one append alone has more.
const EVENTS: usize = 512;
/// How many bytes their data has at most, likewise.
const BYTES: usize = 1024 * 1024;
/// How often those who were answered are given way at most.
const GIVE_WAY: usize = 16;
/// How often in a row without anybody coming.
const IN_VAIN: usize = 4;

/// The appends of a store that wait.
pub(crate) struct Queue {
    db: Database,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// A task is at work on them.
    driven: bool,
}

/// One append.
struct Member {
    batch: Batch,
    metadata: Arc<str>,
}

struct Waiting {
    member: Member,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<Vec<Version>>>;

impl Queue {
    pub(crate) fn new(db: Database) -> Self {
        Self {
            db,
            state: Mutex::default(),
        }
    }

    /// Returns when `batch` is durable, or was refused.
    pub(crate) async fn append(self: &Arc<Self>, batch: Batch) -> Result<Vec<Version>> {
        let metadata = Metadata::stored()?;
        let (answer, answered) = oneshot::channel();
        let member = Member { batch, metadata };
        if self.push(Waiting { member, answer })? {
            let queue = Arc::clone(self);
            task::spawn(Driver { queue, done: false }.run());
        }
        answered.await.unwrap_or_else(|_| Err(interrupted()))
    }

    /// Whether nobody is at work on what waits, and so the caller has to see to it.
    fn push(&self, one: Waiting) -> Result<bool> {
        let mut state = self.state();
        let waiting = state.waiting.len();
        if waiting >= QUEUE_LIMIT {
            return Err(Error::Database(data::Error::Overloaded { waiting }));
        }
        state.waiting.push_back(one);
        Ok(!mem::replace(&mut state.driven, true))
    }

    /// What goes into the next transaction. When there is nothing, nobody is at work any more.
    fn take(&self) -> (Vec<Member>, Vec<Answer>) {
        let mut state = self.state();
        let (mut members, mut answers) = (Vec::new(), Vec::new());
        let (mut events, mut bytes) = (0, 0);
        while let Some(Waiting { member, answer }) = state.waiting.pop_front() {
            if answer.is_closed() {
                continue; // cancelled
            }
            events += member.batch.events();
            bytes += member.batch.bytes();
            if !members.is_empty() && (events > EVENTS || bytes > BYTES) {
                state.waiting.push_front(Waiting { member, answer });
                break;
            }
            members.push(member);
            answers.push(answer);
        }
        state.driven = !members.is_empty();
        (members, answers)
    }

    fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outcome of each of `members`.
    async fn commit(&self, members: &[Member]) -> Vec<Result<Vec<Version>>> {
        match self.together(members).await {
            Ok(outcomes) => outcomes,
            Err(Error::Database(error)) if concerns_all(&error) => members
                .iter()
                .map(|_| Err(Error::Database(error.clone())))
                .collect(),
            Err(error) if members.len() == 1 => vec![Err(error)],
            Err(_) => {
                let mut outcomes = Vec::with_capacity(members.len());
                for alone in members.chunks(1) {
                    match self.together(alone).await {
                        Ok(outcome) => outcomes.extend(outcome),
                        Err(error) => outcomes.push(Err(error)),
                    }
                }
                outcomes
            }
        }
    }

    async fn together(&self, members: &[Member]) -> Result<Vec<Result<Vec<Version>>>> {
        if let Some(stated) = stated(members) {
            let run = async |mut tx| append_unseen(&mut tx, members, stated.clone()).await;
            match self.db.transaction(run).await {
                Err(Error::Overtaken) => {} // one of them was wrong
                Err(Error::Database(error)) if is_violation(&error) => {}
                outcome => return outcome,
            }
        }
        let run = async |mut tx| append_all(&mut tx, members).await;
        self.db.transaction(run).await
    }
}

/// The ends of all streams as the expectations have them, if all have one.
fn stated(members: &[Member]) -> Option<Heads> {
    let mut heads = Heads::new();
    let mut batches = members.iter().map(|member| &member.batch);
    batches
        .all(|batch| batch.state(&mut heads))
        .then_some(heads)
}

/// Appends `members` if the streams end as stated and all fit; else [`Error::Overtaken`], and nothing may be kept.
async fn append_unseen(
    tx: &mut Transaction,
    members: &[Member],
    mut stated: Heads,
) -> Result<Vec<Result<Vec<Version>>>> {
    let mut rows = Vec::new();
    let mut outcomes = Vec::with_capacity(members.len());
    for Member { batch, metadata } in members {
        let numbered = batch.number(&mut stated, metadata);
        let (new, versions) = numbered.map_err(|_| Error::Overtaken)?;
        rows.extend(new);
        outcomes.push(Ok(versions));
    }
    seal(tx, &mut rows).await?;
    write_unseen(tx, rows).await?;
    Ok(outcomes)
}

/// Appends what fits of `members`; the outcome of each. An error is one of the transaction.
async fn append_all(tx: &mut Transaction, members: &[Member]) -> Result<Vec<Result<Vec<Version>>>> {
    let mut heads = heads(tx, members.iter().map(|member| &member.batch)).await?;
    let mut rows = Vec::new();
    let mut outcomes = Vec::with_capacity(members.len());
    for Member { batch, metadata } in members {
        let numbered = batch.number(&mut heads, metadata);
        outcomes.push(numbered.map(|(new, versions)| {
            rows.extend(new);
            versions
        }));
    }
    seal(tx, &mut rows).await?;
    write(tx, rows).await?;
    Ok(outcomes)
}

/// One of the events does not fit its stream, or cannot be stored.
fn is_violation(error: &data::Error) -> bool {
    error.is_unique_violation() || error.is_check_violation()
}

/// Whether each of the members would have failed so too: the database is away, full or overloaded, or nobody knows what
/// became of the commit.
fn concerns_all(error: &data::Error) -> bool {
    match error {
        data::Error::CommitUnknown { .. } | data::Error::NotCommitted { .. } => true,
        error => error.is_retryable() && !error.is_conflict(),
    }
}

/// The task ended before it had an answer, with its runtime.
fn interrupted() -> Error {
    let source = Arc::new(io::Error::from(io::ErrorKind::Interrupted));
    Error::Database(data::Error::CommitUnknown { source })
}

/// Who is at work on a queue: runs one transaction after the other until nobody waits.
struct Driver {
    queue: Arc<Queue>,
    /// Nobody waited, and the queue knows that this one is at work no more.
    done: bool,
}

impl Driver {
    async fn run(mut self) {
        let mut answered = 0;
        loop {
            self.gather(answered).await;
            let (members, answers) = self.queue.take();
            self.done = members.is_empty();
            if self.done {
                return;
            }
            answered = answers.len();
            let outcomes = self.queue.commit(&members).await;
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                _ = answer.send(outcome); // who was cancelled does not wait for it
            }
        }
    }

    /// Who was answered just now may have more: it belongs into the next transaction, not the one after it.
    async fn gather(&self, answered: usize) {
        let (mut waiting, mut in_vain) = (0, 0);
        for _ in 0..GIVE_WAY {
            task::yield_now().await;
            let before = mem::replace(&mut waiting, self.queue.waiting());
            in_vain = if waiting > before { 0 } else { in_vain + 1 };
            if waiting >= answered || in_vain == IN_VAIN {
                return;
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.done {
            let mut state = self.queue.state();
            state.driven = false;
            state.waiting.clear();
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiting();
        f.debug_struct("Queue")
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}
