//! Appends that are committed together: while one transaction is under way, those that come are gathered for the next.
//!
//! They share the transaction and nothing else. Whether an expectation is right is decided for each by itself, against
//! what those before it in the same transaction have appended. What the database refuses for the sake of one (a text
//! that it cannot store) is run again with each alone, so that the others do not pay for it.
//!
//! On PostgreSQL the ends of streams are not looked up where expectations state them: the insert itself finds out
//! whether they are so, and where they are not, the transaction is run again with a look. Two transactions are under way
//! there at a time, never of the same stream: while one waits for the disk, the server works on the other.
//!
//! A transaction is run by a task of its own, so that whoever is cancelled while they wait takes nobody with them.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use data::{Database, Engine, QUEUE_LIMIT, Transaction};
use tokio::{sync::oneshot, task};

use crate::{
    Batch, Error, Metadata, Result, Version,
    append::{Heads, heads, seal, write},
};

/// How many events one transaction takes at most, unless one append alone has more.
const EVENTS: usize = 512;
/// How many bytes their data has at most, likewise.
const BYTES: usize = 1024 * 1024;

/// The appends of a store that wait.
pub(crate) struct Queue {
    db: Database,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// How many tasks are at work on them.
    drivers: usize,
    /// The streams of the transactions that are under way.
    busy: BTreeSet<String>,
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
            task::spawn(Driver::new(self).run());
        }
        answered.await.unwrap_or_else(|_| Err(interrupted()))
    }

    /// Whether one more may be at work on what waits.
    fn push(&self, one: Waiting) -> Result<bool> {
        let mut state = self.state();
        let waiting = state.waiting.len();
        if waiting >= QUEUE_LIMIT {
            return Err(Error::Database(data::Error::Overloaded { waiting }));
        }
        state.waiting.push_back(one);
        let more = state.drivers < self.drivers_max();
        state.drivers += usize::from(more);
        Ok(more)
    }

    fn drivers_max(&self) -> usize {
        match self.db.engine() {
            Engine::Sqlite => 1, // it has one writer
            _ => 2,
        }
    }

    /// What goes into the next transaction, in the order of coming within each stream. When there is nothing, the driver is
    /// at work no more.
    fn take(&self) -> (Vec<Member>, Vec<Answer>) {
        let mut state = self.state();
        let state = &mut *state;
        let (mut members, mut answers) = (Vec::new(), Vec::new());
        let (mut events, mut bytes) = (0, 0);
        let mut passed_over = BTreeSet::new();
        let mut left = VecDeque::new();
        while let Some(one) = state.waiting.pop_front() {
            if one.answer.is_closed() {
                continue; // cancelled
            }
            let batch = &one.member.batch;
            let fits = members.is_empty()
                || events + batch.events() <= EVENTS && bytes + batch.bytes() <= BYTES;
            let must_wait = |stream| state.busy.contains(stream) || passed_over.contains(stream);
            if !fits || batch.streams().any(must_wait) {
                passed_over.extend(batch.streams().map(str::to_owned));
                left.push_back(one);
                continue;
            }
            events += batch.events();
            bytes += batch.bytes();
            members.push(one.member);
            answers.push(one.answer);
        }
        state.waiting = left;
        let streams = members
            .iter()
            .flat_map(|member: &Member| member.batch.streams());
        state.busy.extend(streams.map(str::to_owned));
        state.drivers -= usize::from(members.is_empty());
        (members, answers)
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
        if let Some(stated) = self.stated(members) {
            let run = async |mut tx| append_unseen(&mut tx, members, stated.clone()).await;
            match self.db.transaction(run).await {
                Err(Error::Overtaken) => {} // one of them was wrong
                outcome => return outcome,
            }
        }
        let run = async |mut tx| append_all(&mut tx, members).await;
        self.db.transaction(run).await
    }

    /// The ends of all streams as the expectations have them, where a look at them is worth to be spared.
    fn stated(&self, members: &[Member]) -> Option<Heads> {
        let mut heads = Heads::new();
        let mut batches = members.iter().map(|member| &member.batch);
        let stated = self.db.engine() != Engine::Sqlite && batches.all(|it| it.state(&mut heads));
        stated.then_some(heads)
    }
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
    let mut streams = BTreeSet::new();
    for row in &mut rows {
        row.unseen = streams.insert(row.stream.clone());
    }
    seal(tx, &mut rows).await?;
    write(tx, &rows).await?;
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
    write(tx, &rows).await?;
    Ok(outcomes)
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
    /// The streams of the transaction that is under way.
    streams: Vec<String>,
    /// Nobody waited, and the queue knows that this one is at work no more.
    done: bool,
}

impl Driver {
    fn new(queue: &Arc<Queue>) -> Self {
        Self {
            queue: Arc::clone(queue),
            streams: Vec::new(),
            done: false,
        }
    }

    async fn run(mut self) {
        loop {
            // Who was answered just now may have more: its append belongs into the next transaction, not the one after it.
            task::yield_now().await;
            let (members, answers) = self.queue.take();
            self.done = members.is_empty();
            if self.done {
                return;
            }
            let streams = members.iter().flat_map(|member| member.batch.streams());
            self.streams = streams.map(str::to_owned).collect();
            let outcomes = self.queue.commit(&members).await;
            self.release();
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                _ = answer.send(outcome); // who was cancelled does not wait for it
            }
        }
    }

    fn release(&mut self) {
        let mut state = self.queue.state();
        for stream in self.streams.drain(..) {
            state.busy.remove(&stream);
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.done {
            self.release();
            let mut state = self.queue.state();
            state.drivers -= 1;
            state.waiting.clear();
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.state().waiting.len();
        f.debug_struct("Queue")
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}
