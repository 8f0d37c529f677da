//! The writer's connection, and the group of transactions that is open on it.
//!
//! A group is one SQLite transaction. Its members run in it one after the other, each but the first
//! as a savepoint, and all are acknowledged together by its one `COMMIT`, which is one `fsync`.
//! Nothing here waits; whose turn it is, and when a group closes, is the matter of
//! [`writer`](super::writer).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use env::{
    Instant,
    world::{Effect, Moment, survives},
};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{folding::Growth, open_writer, readers::Readers, recovery, statement};
use crate::{
    Error, Result, Row, Value,
    changes::Channels,
    error::{Cause, Kind},
};

/// A group takes no further member beyond this many: it bounds what one failed `COMMIT` can undo.
pub(super) const GROUP_SIZE: usize = 256;

/// A group takes no further member beyond this age: it bounds how long the first one waits for the
/// others.
pub(super) const GROUP_AGE: Duration = Duration::from_millis(10);

pub(super) struct Session {
    // Before the connection, so that the writer's closes last: that one folds the log into the
    // file.
    readers: Arc<Readers>,
    connection: Connection,
    channels: Arc<Channels>,
    group: Option<Group>,
    trust: Trust,
    growth: Growth,
}

/// What the disk has earned; see [`recovery`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Whole,
    /// A commit failed, and what it left in the log must be written over first.
    NotTheLog,
    /// A fold failed, and the log must be folded from its beginning first. There may be no
    /// connection.
    NotTheFile,
}

struct Group {
    opened: Instant,
    /// The members that were kept, and those that only read; each is told how the group ended.
    members: Vec<oneshot::Sender<Result<(), Lost>>>,
    /// The channels to wake once it is durable.
    notified: BTreeSet<&'static str>,
    /// Whether anything would be lost without a `COMMIT`.
    kept: bool,
}

/// How a whole group was lost.
#[derive(Debug, Clone)]
pub(super) enum Lost {
    /// Nothing of it will ever be there.
    Undone(Kind, Cause),
    /// It may be there after a crash.
    Unknown(Cause),
}

/// What undid a whole group.
#[derive(Debug, thiserror::Error)]
#[error("the group was rolled back: {what}")]
struct RolledBack {
    what: String,
    #[source]
    source: Option<Cause>,
}

impl From<Lost> for Error {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Undone(kind, source) => Error::NotCommitted { kind, source },
            Lost::Unknown(source) => Error::CommitUnknown { source },
        }
    }
}

/// Resolves when the group has ended: `Ok` when it is durable.
pub(super) type Ending = oneshot::Receiver<Result<(), Lost>>;

impl Session {
    pub(super) fn new(
        connection: Connection,
        readers: Arc<Readers>,
        channels: Arc<Channels>,
    ) -> Self {
        Self {
            readers,
            connection,
            channels,
            group: None,
            trust: Trust::Whole,
            growth: Growth::default(),
        }
    }

    /// How far the log had grown when the last group closed.
    pub(super) fn growth(&self) -> Growth {
        self.growth
    }

    /// A group is open: somebody must see to it that it closes.
    pub(super) fn is_open(&self) -> bool {
        self.group.is_some()
    }

    /// The group should close before it takes another member.
    pub(super) fn is_full(&self) -> bool {
        self.group.as_ref().is_some_and(|group| {
            group.members.len() >= GROUP_SIZE
                || env::instant().saturating_duration_since(group.opened) >= GROUP_AGE
        })
    }

    /// Begins a member, in the open group or as the first of a new one.
    pub(super) fn begin(&mut self) -> Result<()> {
        if self.is_full() {
            self.close();
        }
        if self.group.is_none() {
            self.recover()?;
            // Only a rollback that failed can have left a transaction here.
            if !self.connection.is_autocommit() {
                self.run("ROLLBACK")?;
            }
            self.run("BEGIN IMMEDIATE")?;
            self.group = Some(Group {
                opened: env::instant(),
                members: Vec::new(),
                notified: BTreeSet::new(),
                kept: false,
            });
        }
        match self.is_shared() {
            true => self.run_within("SAVEPOINT member"),
            false => Ok(()),
        }
    }

    /// There is what others wrote: a member can be undone only as a savepoint. Each page that it
    /// changes is copied for that.
    fn is_shared(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.kept)
    }

    pub(super) fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        statement::execute(&self.connection, sql, params).inspect_err(|error| self.notice(error))
    }

    pub(super) fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        statement::query(&self.connection, sql, params).inspect_err(|error| self.notice(error))
    }

    pub(super) fn batch(&mut self, sql: &str) -> Result<()> {
        self.run_within("SAVEPOINT text")?;
        let outcome = statement::batch(&self.connection, sql);
        outcome.inspect_err(|error| self.notice(error))?;
        // A text that has ended the transaction has ended this too.
        self.run("RELEASE text").map_err(|_| {
            let error = Error::TransactionControl {
                sql: sql.to_owned(),
            };
            self.lose(&error);
            error
        })
    }

    /// Ends a member that keeps what it wrote. After an error it is still to be undone.
    pub(super) fn keep(&mut self, notified: BTreeSet<&'static str>) -> Result<Ending> {
        if self.is_shared() {
            self.run_within("RELEASE member")?;
        }
        let group = self.group.as_mut().ok_or(Error::Aborted)?;
        group.kept = true;
        group.notified.extend(notified);
        let (teller, ending) = oneshot::channel();
        group.members.push(teller);
        Ok(ending)
    }

    /// Ends a member whose writes are undone; the others keep theirs.
    pub(super) fn undo(&mut self) {
        if !self.is_shared() {
            return self.close(); // there is no group any more, or nothing in it but this
        }
        if let Err(error) = self
            .run("ROLLBACK TO member")
            .and_then(|()| self.run("RELEASE member"))
        {
            // What the member wrote cannot be told from what the others wrote any more.
            self.lose(&error);
        }
    }

    /// For a member that was undone but has read what others wrote: how that ends. `None` when it
    /// read nothing that is not durable.
    pub(super) fn observe(&mut self) -> Option<Ending> {
        let group = self.group.as_mut().filter(|group| group.kept)?;
        let (teller, ending) = oneshot::channel();
        group.members.push(teller);
        Some(ending)
    }

    /// Ends the group and tells its members.
    pub(super) fn close(&mut self) {
        if !self.group.as_ref().is_some_and(|group| group.kept) {
            // There is nothing to lose, so a failure tells nobody anything; `begin` sees to what
            // remains.
            let _ = self.run("ROLLBACK");
            self.group = None;
            return;
        }
        if !self.survives(Moment::Before) {
            return self.lose(&Error::Aborted); // and nobody is there to hear it
        }
        let outcome = self.run("COMMIT");
        let _ = self.survives(Moment::After); // who does not, cannot tell anybody
        self.growth.groups += 1;
        match outcome {
            Ok(()) => {
                let Some(group) = self.group.take() else {
                    return;
                };
                self.measure();
                for channel in &group.notified {
                    self.channels.wake(channel);
                }
                for member in group.members {
                    let _ = member.send(Ok(())); // whoever stopped listening does not mind
                }
            }
            Err(error) if statement::is_io(&error) => {
                self.trust = Trust::NotTheLog;
                match self.recover() {
                    Ok(()) => self.lose(&error),
                    Err(_) => self.lose_as(&error, |_, cause| Lost::Unknown(cause)), // `begin` tries again
                }
            }
            Err(error) => self.lose(&error),
        }
    }

    /// Folds the log into the file, after the open group if there is one.
    pub(super) fn fold(&mut self) -> Result<()> {
        if self.group.is_some() {
            self.close();
        }
        self.recover()?;
        let outcome = statement::query(&self.connection, "PRAGMA wal_checkpoint(PASSIVE)", &[]);
        if outcome.as_ref().is_err_and(statement::is_failed_sync) {
            self.readers.suspend();
            self.trust = Trust::NotTheFile;
            recovery::keep_log(&self.connection)?;
            self.recover()?;
        } else {
            outcome?;
        }
        self.measure();
        Ok(())
    }

    /// Does what must be done first after the disk failed to sync.
    fn recover(&mut self) -> Result<()> {
        match self.trust {
            Trust::Whole => return Ok(()),
            Trust::NotTheLog => recovery::overwrite(&self.connection)?,
            Trust::NotTheFile => {
                // Closes ours. This one is never used.
                self.connection = Connection::open_in_memory()
                    .map_err(|error| statement::failed("open", error))?;
                recovery::replay(self.readers.place())?;
                self.connection = open_writer(self.readers.place())?;
                self.readers.resume();
            }
        }
        self.trust = Trust::Whole;
        Ok(())
    }

    /// Asks how much of the log is not in the file.
    fn measure(&mut self) {
        const ASK: &str = "PRAGMA wal_checkpoint(NOOP)";
        let asked = self.connection.prepare_cached(ASK);
        let asked = asked.and_then(|mut statement| {
            statement.query_row([], |row| {
                Ok(row.get::<_, i64>(1)?.saturating_sub(row.get(2)?))
            })
        });
        // It was asked about what has just been written: the next group asks again.
        self.growth.pages = asked.map_or(0, |pages| u32::try_from(pages).unwrap_or(0));
    }

    /// Some errors (a full disk, `ON CONFLICT ROLLBACK`) make SQLite roll back the whole
    /// transaction, not the statement alone. Then no member's writes exist any more, and each must
    /// hear of it.
    fn notice(&mut self, error: &Error) {
        if self.group.is_some() && self.connection.is_autocommit() {
            self.lose(error);
        }
    }

    /// The group is gone: undoes what there may be left of it, and fails its members.
    fn lose(&mut self, error: &Error) {
        self.lose_as(error, Lost::Undone);
    }

    fn lose_as(&mut self, error: &Error, how: fn(Kind, Cause) -> Lost) {
        if !self.connection.is_autocommit() {
            let _ = self.run("ROLLBACK"); // `begin` tries again
        }
        let Some(group) = self.group.take() else {
            return;
        };
        let (kind, source) = match error {
            Error::Statement { kind, source, .. } => (*kind, Some(Arc::clone(source))),
            _ => (Kind::Other, None),
        };
        let cause: Cause = Arc::new(RolledBack {
            what: error.to_string(),
            source,
        });
        for member in group.members {
            let _ = member.send(Err(how(kind, Arc::clone(&cause))));
        }
    }

    /// Whether the process lives on; only a simulation says no.
    fn survives(&self, moment: Moment) -> bool {
        survives(moment, Effect::Commit(self.readers.place().path()))
    }

    fn run_within(&mut self, sql: &str) -> Result<()> {
        self.run(sql).inspect_err(|error| self.notice(error))
    }

    fn run(&self, sql: &str) -> Result<()> {
        statement::execute(&self.connection, sql, &[]).map(drop)
    }
}
