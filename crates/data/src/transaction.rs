//! Writing: everything in it or nothing.

use std::{collections::BTreeSet, fmt, mem, sync::Arc};

use crate::{
    Error, Result, Row, Value,
    outbox::{self, Message},
    sqlite::Member,
};

/// A transaction. Dropped, it is rolled back.
///
/// It sees what transactions before it wrote, which may not be durable yet; so act upon what was
/// read here (answer a caller, acknowledge a message) only after [`commit`](Self::commit) or
/// [`rollback`](Self::rollback) has returned.
///
/// After a statement failed, nothing but rolling back is possible, as in PostgreSQL: what half
/// happened is not committed by oversight. To go on after a conflict, write `ON CONFLICT DO
/// NOTHING` and look at the count.
pub struct Transaction {
    member: Member,
    owner: Arc<str>,
    outbox: Vec<Message>,
    notified: BTreeSet<&'static str>,
    aborted: bool,
}

impl Transaction {
    pub(crate) fn new(member: Member, owner: Arc<str>) -> Self {
        Self {
            member,
            owner,
            outbox: Vec::new(),
            notified: BTreeSet::new(),
            aborted: false,
        }
    }

    /// The service whose database this is, as [`Database::owner`](crate::Database::owner).
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Runs a statement; the number of rows that it inserted, updated or deleted.
    ///
    /// # Errors
    /// [`Error::Statement`], [`Error::Parameters`]; [`Error::TransactionControl`] for `COMMIT`,
    /// `PRAGMA` and the like.
    pub async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        self.attempt(|member| member.execute(sql, params))
    }

    /// All rows of a query, or of a statement with `RETURNING`. Bound it with `LIMIT`.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        self.attempt(|member| member.query(sql, params))
    }

    /// The first row, as [`query`](Self::query).
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn query_one(&mut self, sql: &str, params: &[Value]) -> Result<Option<Row>> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// Runs several statements without parameters.
    pub(crate) fn batch(&mut self, sql: &str) -> Result<()> {
        self.attempt(|member| member.batch(sql))
    }

    /// Puts a message into the outbox. It is written when the transaction commits.
    pub fn enqueue(&mut self, message: Message) {
        self.outbox.push(message);
    }

    /// Wakes the [`Changes`](crate::Changes) of `channel` when this transaction is durable.
    pub fn notify(&mut self, channel: &'static str) {
        self.notified.insert(channel);
    }

    /// Commits. Returns when everything written is durable: the disk has confirmed it.
    ///
    /// Cancelled, it leaves open which way it went, like a crash; it never leaves a part.
    /// Transactions that are ready at the same time are committed together, for the price of one.
    ///
    /// # Errors
    /// [`Error::NotCommitted`]: run the transaction again. [`Error::Aborted`]: a statement had
    /// failed.
    pub async fn commit(mut self) -> Result<()> {
        let messages = mem::take(&mut self.outbox);
        if !messages.is_empty() {
            self.attempt(|member| outbox::write(member, &messages))?;
            self.notify(outbox::CHANNEL);
        }
        if self.aborted {
            return Err(Error::Aborted);
        }
        self.member.commit(self.notified).await
    }

    /// Undoes everything, and returns when what was read is durable. Simply dropping it undoes as
    /// much, and waits for nothing.
    ///
    /// # Errors
    /// [`Error::NotCommitted`]: something that was read here has not come to be.
    pub async fn rollback(self) -> Result<()> {
        self.member.rollback().await
    }

    fn attempt<T>(&mut self, act: impl FnOnce(&mut Member) -> Result<T>) -> Result<T> {
        if self.aborted {
            return Err(Error::Aborted);
        }
        act(&mut self.member).inspect_err(|_| self.aborted = true)
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}
