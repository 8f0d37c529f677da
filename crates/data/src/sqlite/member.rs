//! One transaction: a member of a group, from its beginning to its acknowledgement.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    session::{Ending, GROUP_AGE, Session},
    writer::{Giver, Writer},
};
use crate::{Error, Result, Row, Value, error::Kind, transaction::Statement};

/// How long another process may hold the database before `begin` gives up.
const BUSY_LIMIT: Duration = Duration::from_secs(5);

/// Between two tries when another process holds the database.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Holds the session. Dropped, it undoes what it wrote, at once.
pub(crate) struct Member {
    writer: Arc<Writer>,
    session: Option<Box<Session>>,
    /// There is something to end.
    begun: bool,
}

impl Member {
    pub(super) async fn begin(writer: &Arc<Writer>) -> Result<Self> {
        let session = writer.acquire().await?;
        let mut member = Self {
            writer: Arc::clone(writer),
            session: Some(session),
            begun: false,
        };
        let deadline = env::instant() + BUSY_LIMIT;
        loop {
            match member.session()?.begin() {
                Ok(()) => break,
                Err(Error::Statement {
                    kind: Kind::Busy, ..
                }) if env::instant() < deadline => {
                    // SQLite's own wait would block everybody on this thread.
                    env::sleep(BUSY_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        member.begun = true;
        Ok(member)
    }

    pub(crate) fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        self.session()?.execute(sql, params)
    }

    pub(crate) fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        self.session()?.query(sql, params)
    }

    pub(crate) fn batch(&mut self, sql: &str) -> Result<()> {
        self.session()?.batch(sql)
    }

    /// Runs what is left, keeps what was written, and waits until it is durable.
    pub(crate) async fn commit(
        mut self,
        closing: Vec<Statement>,
        notified: BTreeSet<&'static str>,
    ) -> Result<()> {
        for Statement { sql, params } in closing {
            self.execute(&sql, &params)?;
        }
        let ending = self.session()?.keep(notified)?;
        self.end(Some(ending)).await
    }

    /// Undoes what was written, and waits until what was read is durable: the writes of earlier
    /// members of the group could be seen, and who acts upon them must know that they stay.
    pub(crate) async fn rollback(mut self) -> Result<()> {
        let session = self.session()?;
        session.undo();
        let ending = session.observe();
        self.end(ending).await
    }

    async fn end(mut self, ending: Option<Ending>) -> Result<()> {
        self.begun = false;
        let Some(session) = self.session.take() else {
            return Ok(());
        };
        let Some(ending) = ending else {
            self.writer.release(session, Giver::Leaves);
            return Ok(());
        };
        let mut lingering = Lingering {
            writer: &self.writer,
            ending,
        };
        self.writer.release(session, Giver::Lingers);
        if lingering.is_open() {
            // Whoever is ready to run may join: on a runtime with one thread, nobody else could
            // ever queue.
            tokio::task::yield_now().await;
            lingering.close();
        }
        loop {
            match env::timeout(GROUP_AGE, &mut lingering.ending).await {
                Ok(Ok(outcome)) => return outcome.map_err(Error::from),
                // Only a panic amid `Session::close` can drop the sender.
                Ok(Err(gone)) => {
                    return Err(Error::NotCommitted {
                        kind: Kind::Other,
                        source: Arc::new(gone),
                    });
                }
                // Who was called next does not come: a task that is not polled. It need not hold up
                // the others.
                Err(_) => lingering.close(),
            }
        }
    }

    fn session(&mut self) -> Result<&mut Session> {
        self.session.as_deref_mut().ok_or(Error::Aborted)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(mut session) = self.session.take() {
            if self.begun {
                session.undo();
            }
            self.writer.release(session, Giver::Leaves);
        }
    }
}

/// The promise of a member that lingers, kept also when `commit` is cancelled.
struct Lingering<'w> {
    writer: &'w Writer,
    ending: Ending,
}

impl Lingering<'_> {
    /// The member's own group has not ended.
    fn is_open(&self) -> bool {
        !self.ending.is_terminated() && self.ending.is_empty()
    }

    /// Closes the member's own group, if nobody else will. Not the next group, which others have
    /// just begun to fill.
    fn close(&self) {
        if self.is_open() {
            self.writer.close_idle();
        }
    }
}

impl Drop for Lingering<'_> {
    fn drop(&mut self) {
        self.close();
    }
}
