//! The writer's connection, and the group of transactions that is open on it.
//!
//! A group is one SQLite transaction. Each member runs in it as a savepoint, one after the other,
//! and all are acknowledged together by its one `COMMIT`, which is one `fsync`. Nothing here waits;
//! whose turn it is, and when a group closes, is the matter of [`writer`](super::writer).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use env::Instant;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::statement;
use crate::{Error, Result, Row, Value, changes::Channels, error::Cause};

/// A group takes no further member beyond this many: it bounds what one failed `COMMIT` can undo.
pub(super) const GROUP_SIZE: usize = 256;

/// A group takes no further member beyond this age: it bounds how long the first one waits for the
/// others.
pub(super) const GROUP_AGE: Duration = Duration::from_millis(5);

pub(super) struct Session {
    connection: Connection,
    channels: Arc<Channels>,
    group: Option<Group>,
}

struct Group {
    opened: Instant,
    /// The members that were kept, and those that only read; each is told how the group ended.
    members: Vec<oneshot::Sender<Result<(), Cause>>>,
    /// The channels to wake once it is durable.
    notified: BTreeSet<&'static str>,
    /// Whether anything would be lost without a `COMMIT`.
    kept: bool,
}

/// What undid a whole group.
#[derive(Debug, thiserror::Error)]
#[error("the group was rolled back: {what}")]
struct Lost {
    what: String,
    #[source]
    source: Option<Cause>,
}

/// Resolves when the group has ended: `Ok` when it is durable.
pub(super) type Ending = oneshot::Receiver<Result<(), Cause>>;

impl Session {
    pub(super) fn new(connection: Connection, channels: Arc<Channels>) -> Self {
        Self {
            connection,
            channels,
            group: None,
        }
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
        self.run("SAVEPOINT member")
            .inspect_err(|error| self.notice(error))
    }

    pub(super) fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        statement::execute(&self.connection, sql, params).inspect_err(|error| self.notice(error))
    }

    pub(super) fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        statement::query(&self.connection, sql, params).inspect_err(|error| self.notice(error))
    }

    pub(super) fn batch(&mut self, sql: &str) -> Result<()> {
        let outcome = statement::batch(&self.connection, sql);
        if outcome.is_ok() && self.connection.is_autocommit() {
            let error = Error::TransactionControl {
                sql: sql.to_owned(),
            };
            self.lose(&error);
            return Err(error);
        }
        outcome.inspect_err(|error| self.notice(error))
    }

    /// Ends a member that keeps what it wrote. After an error it is still to be undone.
    pub(super) fn keep(&mut self, notified: BTreeSet<&'static str>) -> Result<Ending> {
        self.run("RELEASE member")
            .inspect_err(|error| self.notice(error))?;
        let group = self.group.as_mut().ok_or(Error::Aborted)?;
        group.kept = true;
        group.notified.extend(notified);
        let (teller, ending) = oneshot::channel();
        group.members.push(teller);
        Ok(ending)
    }

    /// Ends a member whose writes are undone; the others keep theirs.
    pub(super) fn undo(&mut self) {
        if self.group.is_none() {
            return; // lost, and the member's writes with it
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
        match self.run("COMMIT") {
            Ok(()) => {
                let Some(group) = self.group.take() else {
                    return;
                };
                for channel in &group.notified {
                    self.channels.wake(channel);
                }
                for member in group.members {
                    let _ = member.send(Ok(())); // whoever stopped listening does not mind
                }
            }
            Err(error) => self.lose(&error),
        }
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
        if !self.connection.is_autocommit() {
            let _ = self.run("ROLLBACK"); // `begin` tries again
        }
        let Some(group) = self.group.take() else {
            return;
        };
        let source = match error {
            Error::Statement { source, .. } => Some(Arc::clone(source)),
            _ => None,
        };
        let cause: Cause = Arc::new(Lost {
            what: error.to_string(),
            source,
        });
        for member in group.members {
            let _ = member.send(Err(Arc::clone(&cause)));
        }
    }

    fn run(&self, sql: &str) -> Result<()> {
        statement::execute(&self.connection, sql, &[]).map(drop)
    }
}
