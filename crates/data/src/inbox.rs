//! What a service has handled, so that a message that comes again changes nothing (G3).

use env::Timestamp;

use crate::{Database, Result, Statement, Transaction, params};

/// Changes one row the first time that `group` handles the message, and none when it has done so before.
pub fn receipt(group: &str, message_id: &str) -> Statement {
    Statement::new(
        "INSERT INTO outrigger_inbox (consumer, message_id, received_at) VALUES ($1, $2, $3)
         ON CONFLICT DO NOTHING",
        params![group, message_id, env::now()],
    )
}

impl Transaction {
    /// Records that `group` handles the message now. True the first time; false when it has done so
    /// before, and then there is nothing to do but to commit and acknowledge.
    ///
    /// The record belongs to this transaction: it stays or goes with the effects.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn receive(&mut self, group: &str, message_id: &str) -> Result<bool> {
        let inserted = self.execute_all(vec![receipt(group, message_id)]).await?;
        Ok(inserted == [1])
    }
}

impl Database {
    /// Forgets what was handled before `before`; how many entries. A message delivered again later
    /// than that would be handled again, so keep them longer than the bus keeps its messages.
    ///
    /// # Errors
    /// As of a transaction; what was forgotten until then stays so.
    pub async fn prune_inbox(&self, before: Timestamp) -> Result<u64> {
        let batch = "DELETE FROM outrigger_inbox WHERE (consumer, message_id) IN
             (SELECT consumer, message_id FROM outrigger_inbox WHERE received_at < $1 LIMIT $2)";
        self.in_batches(batch, params![before]).await
    }
}
