//! What a service sends: written with the change that it tells of, taken from here to the bus by a
//! relay.

use crate::{Changes, Database, Result, Transaction, Value, params};

/// The channel that a commit with messages wakes.
pub(crate) const CHANNEL: &str = "outrigger_outbox";

/// A message on its way to the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Unique among all messages of all services: by it, a repetition is known for what it is.
    pub id: String,
    /// What it is about: the type of an event.
    pub topic: String,
    /// Messages with the same key stay in order.
    pub key: String,
    /// The message itself.
    pub payload: Vec<u8>,
}

pub(crate) async fn write(tx: &mut Transaction, messages: &[Message]) -> Result<()> {
    for Message {
        id,
        topic,
        key,
        payload,
    } in messages
    {
        tx.execute(
            "INSERT INTO outrigger_outbox (id, topic, key, payload) VALUES ($1, $2, $3, $4)",
            params![id, topic, key, payload],
        )
        .await?;
    }
    Ok(())
}

impl Database {
    /// The oldest messages, with their sequence numbers, in the order in which they were committed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_batch(&self, limit: u32) -> Result<Vec<(i64, Message)>> {
        let rows = self
            .query(
                "SELECT sequence, id, topic, key, payload FROM outrigger_outbox ORDER BY sequence LIMIT $1",
                params![limit],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let message = Message {
                    id: row.get(1)?,
                    topic: row.get(2)?,
                    key: row.get(3)?,
                    payload: row.get(4)?,
                };
                Ok((row.get(0)?, message))
            })
            .collect()
    }

    /// Deletes messages that have arrived.
    ///
    /// # Errors
    /// As of a transaction.
    pub async fn outbox_delete(&self, sequences: &[i64]) -> Result<()> {
        if sequences.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        for &sequence in sequences {
            tx.execute(
                "DELETE FROM outrigger_outbox WHERE sequence = $1",
                &[Value::Integer(sequence)],
            )
            .await?;
        }
        tx.commit().await
    }

    /// Being woken by a commit with messages.
    pub fn outbox_changed(&self) -> Changes {
        self.changes(CHANNEL)
    }

    /// How many messages have not arrived yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_backlog(&self) -> Result<u64> {
        let row = self
            .query_one("SELECT count(*) FROM outrigger_outbox", params![])
            .await?;
        row.map_or(Ok(0), |row| row.get(0))
    }
}
