//! The loop that feeds a projection.

use std::{collections::VecDeque, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use data::{Database, Transaction, params};
use env::{BoxError, chain};
use events::Backoff;
use futures::FutureExt;
use rand::RngExt;
use tokio_util::sync::CancellationToken;

use super::{
    Projection,
    slots::{drop_retired, prepare, switch},
    status::{State, version},
};
use crate::{Position, Recorded, Result, Store, follow::Follow};

/// The most events that are read at once, and taken in one transaction.
const BATCH: u32 = 1000;
/// A transaction takes no further event beyond this age, so that nobody waits for long behind it.
const BATCH_AGE: Duration = Duration::from_millis(25);
/// The longest that an instance waits which found another one at work; it takes over when that one is gone.
const STAND_BY: Duration = Duration::from_millis(200);
/// So many conflicts one after the other are a failure.
const CONFLICTS: u32 = 10;
/// The most bytes that are kept of an error.
const ERROR_LIMIT: usize = 2048;

/// Keeps the read model of `projection` up to date until `shutdown`, or until a newer version of it serves.
///
/// Any number of instances may run it: one at a time takes events, and the others stand by.
pub async fn run(db: Database, projection: Arc<dyn Projection>, shutdown: CancellationToken) {
    let follow = Follow::new(&db);
    let mut runner = Runner {
        store: Store::new(db.clone()),
        db,
        projection: projection.as_ref(),
        read: VecDeque::new(),
        read_after: Position::START,
        at_head: false,
        one_by_one: 0,
    };
    let ended = runner.follow(follow, &shutdown).await;
    if ended {
        let (name, version) = (projection.name(), projection.version());
        tracing::info!(projection = name, version, "a newer version serves");
    }
}

struct Runner<'a> {
    db: Database,
    store: Store,
    projection: &'a dyn Projection,
    /// What was read and not taken yet, and the position after which it was.
    read: VecDeque<Recorded>,
    read_after: Position,
    /// Whether that was all there was.
    at_head: bool,
    /// How many more events are taken in transactions of their own.
    one_by_one: u32,
}

enum Step {
    Took,
    /// There is nothing to take.
    CaughtUp,
    /// Another instance has taken them, or somebody has changed the projection.
    Overtaken,
    Paused,
    /// A newer version serves.
    Superseded,
}

impl Runner<'_> {
    /// Goes on until `shutdown`; true when it ended because of a newer version.
    async fn follow(&mut self, mut follow: Follow, shutdown: &CancellationToken) -> bool {
        let (mut failures, mut conflicts) = (0, 0);
        let mut prepared = false;
        while !shutdown.is_cancelled() {
            let outcome = if prepared {
                self.step().await
            } else {
                self.prepare().await
            };
            let pause = match outcome {
                Ok(step) => {
                    prepared = true;
                    (failures, conflicts) = (0, 0);
                    match step {
                        Step::Took => {
                            follow.came();
                            continue;
                        }
                        Step::CaughtUp | Step::Paused => None,
                        Step::Overtaken => Some(stand_by()),
                        Step::Superseded => return true,
                    }
                }
                Err(failure) if failure.conflict && conflicts < CONFLICTS => {
                    conflicts += 1;
                    Some(stand_by())
                }
                Err(failure) => {
                    failures += 1;
                    // So that all of the batch that come before the event that fails are taken.
                    self.one_by_one = BATCH;
                    self.report(failures, &failure.error).await;
                    Some(Backoff::default().delay(failures))
                }
            };
            let wait = async {
                match pause {
                    Some(pause) => env::sleep(pause).await,
                    None => follow.wait().await,
                }
            };
            if shutdown.run_until_cancelled(wait).await.is_none() {
                return false;
            }
        }
        false
    }

    async fn prepare(&self) -> Result<Step, Failure> {
        prepare(&self.db, self.projection).await?;
        drop_retired(&self.db, self.projection.name()).await?;
        Ok(Step::Took)
    }

    /// Takes the next events, as many as fit into a transaction.
    async fn step(&mut self) -> Result<Step, Failure> {
        let (name, number) = (self.projection.name(), self.projection.version());
        let status = match version(&self.db, name, number).await? {
            Some(status) if status.state != State::Retired => status,
            _ => return Ok(Step::Superseded),
        };
        if status.paused {
            return Ok(Step::Paused);
        }
        if self.read_after != status.position {
            self.read.clear();
        }
        if self.read.is_empty() {
            self.read_after = status.position;
            self.read = self.store.read_all(status.position, BATCH).await?.into();
            self.at_head = self.read.len() < BATCH as usize;
        }
        let step = if self.read.is_empty() {
            Step::CaughtUp
        } else {
            self.take().await?
        };
        // Not only when there is nothing more to take: where events never pause, that moment does not come.
        if status.state == State::Building && self.at_head && self.read.is_empty() {
            self.try_to_serve().await?;
        }
        Ok(step)
    }

    async fn try_to_serve(&self) -> Result<(), Failure> {
        let (name, version) = (self.projection.name(), self.projection.version());
        if switch(&self.db, name, version).await? {
            tracing::info!(projection = name, version, "serves");
            drop_retired(&self.db, name).await?;
        }
        Ok(())
    }

    async fn take(&mut self) -> Result<Step, Failure> {
        let mut tx = self.db.begin().await?;
        let taken = match self.take_in(&mut tx).await {
            Ok(taken) => taken,
            Err(error) => {
                let conflict = tx.is_retryable();
                return Err(Failure { error, conflict });
            }
        };
        let Some((count, last)) = taken else {
            tx.rollback().await?;
            self.read.clear();
            return Ok(Step::Overtaken);
        };
        tx.commit().await?;
        self.read.drain(..count);
        self.read_after = last;
        self.one_by_one = self.one_by_one.saturating_sub(1);
        Ok(Step::Took)
    }

    /// Takes events; how many, and the position of the last. `None` when somebody else did.
    async fn take_in(&self, tx: &mut Transaction) -> Result<Option<(usize, Position)>, BoxError> {
        if !self.hold(tx).await? {
            return Ok(None);
        }
        let began = env::instant();
        let (mut count, mut last) = (0, self.read_after);
        for event in &self.read {
            self.apply(tx, event).await?;
            (count, last) = (count + 1, event.position);
            if self.one_by_one > 0 || env::instant() - began >= BATCH_AGE {
                break;
            }
        }
        self.check_in(tx, last).await?;
        Ok(Some((count, last)))
    }

    /// Holds the checkpoint, if it is where we read on from: nobody else can move it until the transaction ends.
    async fn hold(&self, tx: &mut Transaction) -> data::Result<bool> {
        let hold = "UPDATE outrigger_projections SET failures = 0, error = NULL
                    WHERE name = $1 AND version = $2 AND position = $3
                      AND paused = 0 AND state <> 'retired'";
        let (name, version) = (self.projection.name(), self.projection.version());
        let held = params![name, version, self.read_after.to_string()];
        Ok(tx.execute(hold, held).await? == 1)
    }

    async fn check_in(&self, tx: &mut Transaction, last: Position) -> data::Result<()> {
        let move_on = "UPDATE outrigger_projections SET position = $3, updated = $4
                       WHERE name = $1 AND version = $2";
        let (name, version) = (self.projection.name(), self.projection.version());
        let moved = params![name, version, last.to_string(), env::now()];
        tx.execute(move_on, moved).await.map(drop)
    }

    async fn apply(&self, tx: &mut Transaction, event: &Recorded) -> Result<(), BoxError> {
        let applied = AssertUnwindSafe(self.projection.apply(tx, event));
        let result = match applied.catch_unwind().await {
            Ok(result) => result,
            Err(_) => Err("it panicked".into()),
        };
        result.map_err(|source| {
            Box::new(Rejected {
                position: event.position,
                source,
            })
            .into()
        })
    }

    /// Makes a failure visible; best effort, for the database itself may be what fails.
    async fn report(&self, failures: u32, error: &BoxError) {
        let (name, version) = (self.projection.name(), self.projection.version());
        let text = told(error);
        tracing::warn!(
            projection = name,
            version,
            failures,
            error = text,
            "cannot go on yet"
        );
        let write = "UPDATE outrigger_projections SET failures = $3, error = $4, updated = $5
                     WHERE name = $1 AND version = $2";
        let row = params![name, version, failures, text, env::now()];
        let written = self
            .db
            .transaction(async |mut tx| tx.execute(write, row).await);
        if let Err(error) = written.await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(projection = name, error, "cannot write down its failure");
        }
    }
}

struct Failure {
    error: BoxError,
    /// Because of another transaction, and likely to succeed when it is tried again.
    conflict: bool,
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        Self {
            conflict: error.is_retryable(),
            error: error.into(),
        }
    }
}

impl From<data::Error> for Failure {
    fn from(error: data::Error) -> Self {
        crate::Error::from(error).into()
    }
}

/// An event that a projection would not take.
#[derive(Debug, thiserror::Error)]
#[error("the event at position {position} was not taken")]
struct Rejected {
    position: Position,
    source: BoxError,
}

/// Somewhere between half of [`STAND_BY`] and all of it, so that those who stand by do not look at the same time.
fn stand_by() -> Duration {
    STAND_BY.mul_f64(env::random().random_range(0.5..=1.0))
}

/// The error in one line of bounded length.
fn told(error: &BoxError) -> String {
    let mut text = chain(error.as_ref());
    text.truncate(text.floor_char_boundary(ERROR_LIMIT));
    text
}
