//! Writing: everything in it or nothing.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    Engine, Error, Result, Row, Value,
    control::refuse_control,
    engine::Member,
    error::Again,
    outbox::{self, Message},
    owner::Owner,
};

/// A transaction. Dropped, it is rolled back.
///
/// It sees what transactions before it wrote, which may not be durable yet; so act upon what was
/// read here (answer a caller, acknowledge a message) only after [`commit`](Self::commit) or
/// [`rollback`](Self::rollback) has returned.
///
/// After a statement failed, nothing but rolling back is possible, as in PostgreSQL: what half
/// happened is not committed by oversight. To go on after a conflict, write `ON CONFLICT DO
/// NOTHING` and look at the count; to go on without a part that failed, roll back to a
/// [savepoint](Self::savepoint) before it.
pub struct Transaction {
    /// Until it ends.
    member: Option<Member>,
    engine: Engine,
    owner: Owner,
    outbox: Vec<Message>,
    /// What runs before anything else does.
    later: Vec<Statement>,
    notified: BTreeSet<&'static str>,
    /// How many savepoints there have been.
    savepoints: u32,
    state: State,
    /// Where it goes when it is dropped, instead of ending.
    home: Option<Home>,
}

/// A statement with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub(crate) sql: Cow<'static, str>,
    pub(crate) params: Vec<Value>,
}

/// A place in a transaction to come back to: see [`Transaction::savepoint`].
#[derive(Debug)]
pub struct Savepoint {
    name: String,
    outbox: usize,
    notified: BTreeSet<&'static str>,
}

impl Statement {
    /// `sql` with what it calls `$1` and so on.
    pub fn new(sql: impl Into<Cow<'static, str>>, params: impl Into<Vec<Value>>) -> Self {
        Self {
            sql: sql.into(),
            params: params.into(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// A statement failed, or was cancelled before its outcome was known.
    Aborted {
        /// Whether the transaction may be run again.
        again: Option<Again>,
    },
}

impl Transaction {
    pub(crate) fn new(member: Member, owner: Owner) -> Self {
        Self {
            engine: member.engine(),
            member: Some(member),
            owner,
            outbox: Vec::new(),
            later: Vec::new(),
            notified: BTreeSet::new(),
            savepoints: 0,
            state: State::Whole,
            home: None,
        }
    }

    /// The same transaction, which goes home when it is dropped.
    pub(crate) fn lent_by(mut self, home: &Home) -> Self {
        self.home = Some(home.clone());
        self
    }

    /// The engine that keeps the database, as [`Database::engine`](crate::Database::engine).
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The service whose database this is, as [`Database::owner`](crate::Database::owner).
    pub fn owner(&self) -> &str {
        &self.owner.name
    }

    /// Whether the service has declared that it publishes messages of this schema, as in
    /// [`Database::publishing`](crate::Database::publishing).
    pub fn may_publish(&self, schema: &str) -> bool {
        self.owner.declares(schema)
    }

    /// How many bytes a message may have, as in [`Database::limiting_messages`].
    ///
    /// [`Database::limiting_messages`]: crate::Database::limiting_messages
    pub fn message_limit(&self) -> usize {
        self.owner.message_limit
    }

    /// Runs a statement; the number of rows that it inserted, updated or deleted.
    ///
    /// # Errors
    /// [`Error::Statement`], [`Error::Parameters`]; [`Error::TransactionControl`] for `COMMIT`,
    /// `PRAGMA` and the like.
    pub async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        if !self.later.is_empty() {
            let statement = Statement::new(sql.to_owned(), params);
            let counts = self.execute_all(vec![statement]).await?;
            return Ok(counts.last().copied().unwrap_or_default());
        }
        self.start()?;
        refuse_control(sql)?;
        let outcome = self.member()?.execute(sql, params).await;
        self.note(outcome)
    }

    /// Runs statements one after the other, of which none needs what another one answers; what each of them changed, as
    /// [`execute`](Self::execute) says. On PostgreSQL they are on their way together, which is one round trip.
    ///
    /// # Errors
    /// As [`execute`](Self::execute), of the first that failed.
    pub async fn execute_all(&mut self, statements: Vec<Statement>) -> Result<Vec<u64>> {
        self.start()?;
        let mut all = mem::take(&mut self.later);
        let before = all.len();
        all.extend(statements);
        refuse_control_in(&all)?;
        let outcome = match all.is_empty() {
            true => Ok(Vec::new()),
            false => self.member()?.execute_all(&all).await,
        };
        let counts = self.note(outcome)?;
        Ok(counts.into_iter().skip(before).collect())
    }

    /// Has a statement run before the next one of this transaction, or when it commits. Nobody is told what it changed; its
    /// error is that of what it runs with. On PostgreSQL the two are on their way together, and the transaction takes a
    /// round trip less.
    ///
    /// Where nothing may be kept, the statement has to fail.
    pub fn execute_later(
        &mut self,
        sql: impl Into<Cow<'static, str>>,
        params: impl Into<Vec<Value>>,
    ) {
        self.later.push(Statement::new(sql, params));
    }

    /// All rows of a query, or of a statement with `RETURNING`. Bound it with `LIMIT`.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        self.catch_up().await?;
        self.start()?;
        refuse_control(sql)?;
        let outcome = self.member()?.query(sql, params).await;
        self.note(outcome)
    }

    /// The first row, as [`query`](Self::query).
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn query_one(&mut self, sql: &str, params: &[Value]) -> Result<Option<Row>> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// A place to come back to, should what follows fail. Nothing need be done where it does not.
    ///
    /// ```
    /// # use outrigger_data as data;
    /// # use data::params;
    /// # async fn renamed(tx: &mut data::Transaction) -> Result<bool, data::Error> {
    /// let before = tx.savepoint().await?;
    /// let rename = "UPDATE users SET name = $2 WHERE id = $1";
    /// let renamed = tx.execute(rename, params!["u1", "taken"]).await;
    /// if let Err(error) = &renamed && error.is_unique_violation() {
    ///     tx.rollback_to(before).await?;
    ///     return Ok(false);
    /// }
    /// renamed.map(|rows| rows == 1)
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`execute`](Self::execute), also of what was to be [executed later](Self::execute_later).
    pub async fn savepoint(&mut self) -> Result<Savepoint> {
        self.savepoints += 1;
        let name = format!("part{}", self.savepoints);
        self.start()?;
        let mut all = mem::take(&mut self.later);
        refuse_control_in(&all)?;
        all.push(Statement::new(format!("SAVEPOINT {name}"), []));
        let outcome = self.member()?.execute_all(&all).await;
        self.note(outcome)?;
        Ok(Savepoint {
            name,
            outbox: self.outbox.len(),
            notified: self.notified.clone(),
        })
    }

    /// Undoes all that was written, put into the outbox or said since, and has the transaction go on from there, also
    /// after a statement has failed. Savepoints that were made since are gone.
    ///
    /// On PostgreSQL a statement that was dropped before its answer came is waited for.
    ///
    /// # Errors
    /// Where what failed has ended the whole transaction: a lost connection, a disk that is full.
    pub async fn rollback_to(&mut self, savepoint: Savepoint) -> Result<()> {
        self.outbox.truncate(savepoint.outbox);
        self.notified = savepoint.notified;
        self.later.clear();
        let again = self.again();
        self.state = State::Aborted { again };
        let rollback = format!("ROLLBACK TO {}", savepoint.name);
        self.member()?.execute(&rollback, &[]).await?;
        self.state = State::Whole;
        Ok(())
    }

    /// Runs several statements without parameters.
    pub(crate) async fn batch(&mut self, sql: &str) -> Result<()> {
        self.catch_up().await?;
        self.start()?;
        let outcome = self.member()?.batch(sql).await;
        self.note(outcome)
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
    /// [`Error::NotCommitted`]: run the transaction again. [`Error::CommitUnknown`]: look first.
    /// [`Error::Aborted`]: a statement had failed. Those of [`execute`](Self::execute), of a message in the outbox or of
    /// what was to be [executed later](Self::execute_later): nothing is kept.
    pub async fn commit(mut self) -> Result<()> {
        let mut closing = mem::take(&mut self.later);
        let messages = mem::take(&mut self.outbox);
        if !messages.is_empty() {
            closing.extend(outbox::write(self.engine, messages));
            self.notify(outbox::CHANNEL);
        }
        self.start()?;
        refuse_control_in(&closing)?;
        match self.member.take() {
            Some(member) => member.commit(closing, mem::take(&mut self.notified)).await,
            None => Err(Error::Aborted),
        }
    }

    /// Undoes everything, and returns when what was read is durable. Simply dropping it undoes as
    /// much, and waits for nothing.
    ///
    /// # Errors
    /// [`Error::NotCommitted`]: something that was read here has not come to be.
    pub async fn rollback(mut self) -> Result<()> {
        match self.member.take() {
            Some(member) => member.rollback().await,
            None => Ok(()),
        }
    }

    /// Whether a statement failed because of another transaction, or of a fault that passes: then
    /// the same transaction may succeed when it is run again from its beginning.
    pub fn is_retryable(&self) -> bool {
        self.again().is_some()
    }

    pub(crate) fn again(&self) -> Option<Again> {
        match self.state {
            State::Aborted { again } => again,
            State::Whole => None,
        }
    }

    /// As after a statement that failed for good.
    pub(crate) fn abort(&mut self) {
        self.state = State::Aborted { again: None };
    }

    /// Runs what was to be [executed later](Self::execute_later), so that it is known whether all that was done until now
    /// has succeeded.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); [`Error::Aborted`] where a statement has failed before.
    pub async fn catch_up(&mut self) -> Result<()> {
        match (self.state, self.later.is_empty()) {
            (State::Whole, true) => Ok(()),
            (State::Whole, false) => self.execute_all(Vec::new()).await.map(drop),
            (State::Aborted { .. }, _) => Err(Error::Aborted),
        }
    }

    fn member(&mut self) -> Result<&mut Member> {
        self.member.as_mut().ok_or(Error::Aborted)
    }

    /// Before a statement: it counts as failed until it is [noted](Self::note).
    fn start(&mut self) -> Result<()> {
        if self.state != State::Whole {
            return Err(Error::Aborted);
        }
        self.state = State::Aborted { again: None };
        Ok(())
    }

    fn note<T>(&mut self, outcome: Result<T>) -> Result<T> {
        self.state = match &outcome {
            Ok(_) => State::Whole,
            Err(error) => State::Aborted {
                again: error.again(),
            },
        };
        outcome
    }
}

fn refuse_control_in(statements: &[Statement]) -> Result<()> {
    let mut texts = statements.iter().map(|statement| &statement.sql);
    texts.try_for_each(|sql| refuse_control(sql))
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let (Some(home), Some(member)) = (self.home.take(), self.member.take()) {
            home.put(Self {
                member: Some(member),
                engine: self.engine,
                owner: self.owner.clone(),
                outbox: mem::take(&mut self.outbox),
                later: mem::take(&mut self.later),
                notified: mem::take(&mut self.notified),
                savepoints: self.savepoints,
                state: self.state,
                home: None,
            });
        }
    }
}

/// Where a lent transaction is found again, so that who lent it ends it.
#[derive(Clone, Default)]
pub(crate) struct Home(Arc<Mutex<Option<Transaction>>>);

impl Home {
    fn put(&self, tx: Transaction) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tx);
    }

    pub(crate) fn take(&self) -> Option<Transaction> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("owner", &self.owner())
            .finish_non_exhaustive()
    }
}
