//! What a service sends: written with the change that it tells of, taken from here to the bus by a
//! relay, and kept for a while after that, so that it can be sent again.
//!
//! | file | subject |
//! |---|---|
//! | `outbox.rs` | what a service and its operators do with it |
//! | `outbox/sending.rs` | what the relay does |

pub mod sending;

use env::Timestamp;

use crate::{Changes, Database, Engine, Result, Row, Value, params, transaction::Statement};

/// The channel that a commit with messages wakes.
pub(crate) const CHANNEL: &str = "outrigger_outbox";

/// Messages that are counted at most, for counting more takes its time.
const COUNTED: u32 = 100_000;

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

impl Message {
    /// Reads columns `first` and following: id, topic, key, payload.
    fn read(row: &Row, first: usize) -> Result<Self> {
        Ok(Self {
            id: row.get(first)?,
            topic: row.get(first + 1)?,
            key: row.get(first + 2)?,
            payload: row.get(first + 3)?,
        })
    }
}

/// What writes `messages`, in their order: on PostgreSQL one statement, which is one round trip.
pub(crate) fn write(engine: Engine, messages: Vec<Message>) -> Vec<Statement> {
    const ONE: &str = "INSERT INTO outrigger_outbox (id, topic, key, payload, written_at) VALUES ($1, $2, $3, $4, $5)";
    const ALL: &str = "INSERT INTO outrigger_outbox (id, topic, key, payload, written_at)
         SELECT id, topic, key, payload, $5::bigint
         FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[])
              WITH ORDINALITY AS message (id, topic, key, payload, place)
         ORDER BY place";
    let now = Value::from(env::now());
    let values = messages.into_iter().map(|message| {
        let texts = [message.id, message.topic, message.key].map(Value::from);
        let [id, topic, key] = texts;
        [id, topic, key, message.payload.into()]
    });
    let (sql, rows): (_, Vec<Vec<Value>>) = match engine {
        Engine::Postgres if values.len() > 1 => (ALL, vec![Value::columns(values).into()]),
        _ => (ONE, values.map(Vec::from).collect()),
    };
    let closing = |mut params: Vec<Value>| {
        params.push(now.clone());
        Statement::new(sql, params)
    };
    rows.into_iter().map(closing).collect()
}

/// How an outbox is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Messages that the bus does not have yet; 100,000 stands for as many or more.
    pub unsent: u64,
    /// When the oldest of them was written.
    pub oldest: Option<Timestamp>,
    /// Messages that cannot be sent; see [`Database::outbox_refused`].
    pub refused: u64,
}

/// A message that cannot be sent. It stays until it is [replayed](Database::outbox_replay) or
/// [dropped](Database::outbox_drop).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The message.
    pub message: Message,
    /// Why.
    pub error: String,
    /// When it was set aside.
    pub at: Timestamp,
}

impl Database {
    /// Being woken by a commit with messages.
    pub fn outbox_changed(&self) -> Changes {
        self.changes(CHANNEL)
    }

    /// How many messages the bus does not have yet; 100,000 stands for as many or more.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_backlog(&self) -> Result<u64> {
        Ok(self.outbox_status().await?.unsent)
    }

    /// How the outbox is doing.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_status(&self) -> Result<Status> {
        let look = "SELECT
            (SELECT count(*) FROM (SELECT 1 FROM outrigger_outbox WHERE settled_at IS NULL LIMIT $1) AS unsent),
            (SELECT written_at FROM outrigger_outbox WHERE settled_at IS NULL ORDER BY sequence LIMIT 1),
            (SELECT count(*) FROM (SELECT 1 FROM outrigger_outbox WHERE refused IS NOT NULL LIMIT $1) AS refused)";
        let row = self.query_one(look, params![COUNTED]).await?;
        let empty = Status {
            unsent: 0,
            oldest: None,
            refused: 0,
        };
        row.map_or(Ok(empty), |row| {
            Ok(Status {
                unsent: row.get(0)?,
                oldest: row.get(1)?,
                refused: row.get(2)?,
            })
        })
    }

    /// The oldest messages that cannot be sent.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn outbox_refused(&self, limit: u32) -> Result<Vec<Refused>> {
        let find = "SELECT id, topic, key, payload, refused, settled_at FROM outrigger_outbox
                    WHERE refused IS NOT NULL ORDER BY sequence LIMIT $1";
        let rows = self.query(find, params![limit]).await?;
        rows.iter()
            .map(|row| {
                Ok(Refused {
                    message: Message::read(row, 0)?,
                    error: row.get(4)?,
                    at: row.get(5)?,
                })
            })
            .collect()
    }

    /// Gives up a message that cannot be sent; whether there was one.
    ///
    /// # Errors
    /// As of a transaction.
    pub async fn outbox_drop(&self, id: &str) -> Result<bool> {
        let delete = "DELETE FROM outrigger_outbox WHERE id = $1 AND refused IS NOT NULL";
        let deleted = self
            .transaction(async |mut tx| tx.execute(delete, params![id]).await)
            .await?;
        Ok(deleted > 0)
    }

    /// Has everything sent once more that was sent since `since`, as far as it is still kept, and
    /// tried again what could not be sent; how many messages. Those who have handled a message
    /// know it by its id.
    ///
    /// It is for a bus that has lost what it had confirmed.
    ///
    /// # Errors
    /// As of a transaction; what was done until then stays so.
    pub async fn outbox_replay(&self, since: Timestamp) -> Result<u64> {
        let update = "UPDATE outrigger_outbox SET settled_at = NULL, claim = NULL, refused = NULL
            WHERE sequence IN (SELECT sequence FROM outrigger_outbox
                               WHERE settled_at >= $1 AND settled_at <= $2 ORDER BY sequence LIMIT $3)";
        // What is sent again meanwhile is settled later than this.
        let replayed = self.in_batches(update, params![since, env::now()]).await?;
        self.transaction(async |mut tx| {
            tx.notify(CHANNEL);
            Ok(replayed)
        })
        .await
    }
}
