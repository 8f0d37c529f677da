//! Changing many rows a batch at a time, each in a transaction of its own, so that nobody is held up.

use crate::{Database, Result, Value};

/// Rows changed in one transaction.
const BATCH: u32 = 1000;

impl Database {
    /// Runs a statement again and again until it changes fewer rows than it may; how many in all. It is
    /// given `params`, and after them, as its last parameter, how many rows it may change.
    ///
    /// For a library that forgets what is old:
    ///
    /// ```no_run
    /// # use outrigger_data as data;
    /// # use data::{Database, params};
    /// # async fn example(db: Database, before: env::Timestamp) -> data::Result<()> {
    /// let forget = "DELETE FROM visit WHERE id IN (SELECT id FROM visit WHERE at < $1 LIMIT $2)";
    /// db.in_batches(forget, params![before]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As of a [`transaction`](Self::transaction); what was changed until then stays so.
    pub async fn in_batches(&self, sql: &str, params: &[Value]) -> Result<u64> {
        let params = [params, &[BATCH.into()]].concat();
        let mut changed = 0;
        loop {
            let batch = self
                .transaction(async |mut tx| tx.execute(sql, &params).await)
                .await?;
            changed += batch;
            if batch < u64::from(BATCH) {
                return Ok(changed);
            }
        }
    }
}
