//! What the relay does with the outbox: claims messages, sends them, settles them.
//!
//! On PostgreSQL a message can become visible after one with a higher number (its transaction
//! committed later), so no place in the table says what is still to be done: each row does. The
//! leader claims rows before it sends them, and marks them after. What is claimed and not settled
//! when a leader takes over may be on the bus or not, and is sent again before anything else.

use env::Timestamp;

use super::Message;
use crate::{Database, Result, Row, Transaction, params};

/// A message that the bus does not have yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsent {
    /// Its place in the outbox.
    pub sequence: i64,
    /// The message.
    pub message: Message,
    /// The number that it was given when it was claimed first.
    pub number: Option<i64>,
}

impl Unsent {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            sequence: row.get(0)?,
            number: row.get(1)?,
            message: Message::read(row, 2)?,
        })
    }
}

/// What one message is claimed with: its place, and its number, if it has one.
pub type Claim = (i64, Option<i64>);

impl Database {
    /// The oldest messages that nobody has claimed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_waiting(&self, limit: u32) -> Result<Vec<Unsent>> {
        let find = "SELECT sequence, number, id, topic, key, payload FROM outrigger_outbox
                    WHERE settled_at IS NULL AND claim IS NULL ORDER BY sequence LIMIT $1";
        let rows = self.query(find, params![limit]).await?;
        rows.iter().map(Unsent::read).collect()
    }

    /// Messages that are claimed and not settled, in the order in which they were claimed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_claimed(&self, limit: u32) -> Result<Vec<Unsent>> {
        let find = "SELECT sequence, number, id, topic, key, payload FROM outrigger_outbox
                    WHERE settled_at IS NULL AND claim IS NOT NULL ORDER BY claim, sequence LIMIT $1";
        let rows = self.query(find, params![limit]).await?;
        rows.iter().map(Unsent::read).collect()
    }

    /// Deletes the messages that the bus has had since before `before`; how many.
    ///
    /// # Errors
    /// As of a transaction; what was deleted until then stays so.
    pub async fn outbox_prune(&self, before: Timestamp) -> Result<u64> {
        let delete = "DELETE FROM outrigger_outbox WHERE sequence IN (
                          SELECT sequence FROM outrigger_outbox
                          WHERE settled_at < $1 AND refused IS NULL ORDER BY settled_at LIMIT $2)";
        self.in_batches(delete, params![before]).await
    }
}

impl Transaction {
    /// Claims messages together, as [`execute_later`](Self::execute_later) does. Claims with a higher `claim` come later.
    pub fn outbox_claim(&mut self, claim: i64, claims: &[Claim]) {
        if claims.is_empty() {
            return;
        }
        let items = self.engine().items();
        let update = format!(
            "UPDATE outrigger_outbox SET claim = $2, number = CAST(item.value ->> 1 AS BIGINT)
             FROM {items} WHERE sequence = CAST(item.value ->> 0 AS BIGINT)"
        );
        let claims: Vec<String> = claims
            .iter()
            .map(|(sequence, number)| match number {
                Some(number) => format!("[{sequence},{number}]"),
                None => format!("[{sequence},null]"),
            })
            .collect();
        let list = format!("[{}]", claims.join(","));
        self.execute_later(update, params![list, claim]);
    }

    /// Notes that the bus has messages, by their places, as [`execute_later`](Self::execute_later) does.
    pub fn outbox_sent(&mut self, sequences: &[i64]) {
        if sequences.is_empty() {
            return;
        }
        let items = self.engine().items();
        let update = format!(
            "UPDATE outrigger_outbox SET settled_at = $2
             WHERE sequence IN (SELECT CAST(item.value ->> 0 AS BIGINT) FROM {items})"
        );
        let sequences: Vec<String> = sequences.iter().map(|it| format!("[{it}]")).collect();
        let list = format!("[{}]", sequences.join(","));
        self.execute_later(update, params![list, env::now()]);
    }

    /// Sets a message aside that cannot be sent, as [`execute_later`](Self::execute_later) does.
    pub fn outbox_refuse(&mut self, sequence: i64, error: &str) {
        let update =
            "UPDATE outrigger_outbox SET settled_at = $2, refused = $3 WHERE sequence = $1";
        self.execute_later(update, params![sequence, env::now(), error]);
    }
}
