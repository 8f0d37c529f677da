//! One transaction: a connection of its own from its first statement to its end.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::{
    connection::{BEGIN, Place},
    notifier::Notifier,
    pool::Lease,
};
use crate::{Error, Result, Row, Value, transaction::Statement};

/// How long a transaction that was dropped may take to roll back before its connection is closed.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(5);

/// Dropped, it is rolled back, and nobody gets its connection before that.
pub(crate) struct Member {
    lease: Option<Lease>,
    notifier: Arc<Notifier>,
    /// Something was sent, so there is something to end.
    begun: bool,
}

impl Member {
    pub(super) fn new(lease: Lease, notifier: Arc<Notifier>) -> Self {
        Self {
            lease: Some(lease),
            notifier,
            begun: false,
        }
    }

    pub(crate) async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        let (lease, place) = self.next()?;
        lease.connection.execute(sql, params, place).await
    }

    /// What each of the statements changed, which are on their way together.
    pub(crate) async fn execute_all(&mut self, statements: &[Statement]) -> Result<Vec<u64>> {
        let (lease, place) = self.next()?;
        lease.connection.execute_all(statements, place).await
    }

    pub(crate) async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        let (lease, place) = self.next()?;
        lease.connection.query(sql, params, place).await
    }

    /// Several statements without parameters, however long they take: a migration.
    pub(crate) async fn batch(&mut self, sql: &str) -> Result<()> {
        let (lease, place) = self.next()?;
        if place == Place::First {
            lease.connection.batch(BEGIN).await?;
        }
        lease
            .connection
            .batch("SET LOCAL statement_timeout = 0")
            .await?;
        lease.connection.batch("SAVEPOINT text").await?;
        lease.connection.batch(sql).await?;
        // A text that has ended the transaction has ended this too.
        let within = lease.connection.batch("RELEASE SAVEPOINT text");
        within.await.map_err(|_| Error::TransactionControl {
            sql: sql.to_owned(),
        })
    }

    /// Runs what is left, keeps what was written, and returns when it is durable.
    pub(crate) async fn commit(
        mut self,
        closing: Vec<Statement>,
        notified: BTreeSet<&'static str>,
    ) -> Result<()> {
        if self.begun || !closing.is_empty() {
            let (lease, place) = self.next()?;
            lease.connection.commit(&closing, place).await?;
        }
        self.end();
        self.notifier.tell(notified);
        Ok(())
    }

    /// Undoes what was written. What was read is durable: others' writes are seen only then.
    pub(crate) async fn rollback(mut self) -> Result<()> {
        if self.begun
            && let Some(lease) = &mut self.lease
            && lease.connection.control("ROLLBACK").await.is_err()
        {
            // The server rolls back what is open on a connection that ends.
            lease.connection.give_up();
        }
        self.end();
        Ok(())
    }

    fn next(&mut self) -> Result<(&mut Lease, Place)> {
        let place = if self.begun {
            Place::Within
        } else {
            Place::First
        };
        self.begun = true;
        Ok((self.lease.as_mut().ok_or(Error::Aborted)?, place))
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some(mut lease) = self.lease.take() else {
            return;
        };
        if !self.begun {
            return lease.give_back();
        }
        // Its last statement may still run, and the rollback comes after it. Meanwhile the
        // connection counts as taken.
        let rolling_back = async move {
            let outcome = env::timeout(ROLLBACK_LIMIT, lease.connection.control("ROLLBACK")).await;
            match outcome {
                Ok(Ok(())) => lease.give_back(),
                _ => lease.connection.give_up(),
            }
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(rolling_back);
        }
    }
}
