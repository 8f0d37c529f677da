//! What the relay does with the outbox: claims messages, sends them, settles them.
//!
//! On PostgreSQL a message can become visible after one with a higher number (its transaction
//! committed later), so no place in the table says what is still to be done: each row does. The
//! leader claims rows before it sends them (on SQLite, where that cannot be, at the same time), and marks
//! them after. What is claimed and not settled when a leader takes over may be on the bus or not, and is
//! sent again before anything else.
//!
//! What was settled stays for a while, and so do the rows' former versions. A plan that reads them gets slower with every
//! message, and PostgreSQL knows little of a table that grows. So each statement gives bounds of places: then it expects
//! few rows, and goes through the index of what is not settled, in order, which also rids that of what is in it no more.
//! The list of places is but a filter: with `= ANY` it would plan anew for each list (docs/decisions/0037).

use env::Timestamp;

use super::Message;
use crate::{Database, Engine, Result, Row, Transaction, Value, params};

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
                    WHERE settled_at IS NULL AND claim IS NULL AND sequence BETWEEN $2 AND $3 ORDER BY sequence LIMIT $1";
        let rows = self.query(find, params![limit, 0, i64::MAX]).await?;
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

/// What is done with what is not settled and has one of the places that [`among`] gives.
macro_rules! among_places {
    ($what:literal) => {
        concat!(
            $what,
            " WHERE settled_at IS NULL AND sequence BETWEEN $2 AND $3
              AND array_position($1::bigint[], sequence) IS NOT NULL"
        )
    };
}

/// `$1` to `$3`: the places, the first, and the last of them.
fn among(places: &[i64]) -> [Value; 3] {
    let (first, last) = (places.iter().min(), places.iter().max());
    [
        places.iter().copied().collect(),
        first.copied().into(),
        last.copied().into(),
    ]
}

/// An array, for `json_each` to make rows of it.
fn json(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

impl Transaction {
    /// Claims messages together, as [`execute_later`](Self::execute_later) does. Claims with a higher `claim` come later.
    pub fn outbox_claim(&mut self, claim: i64, claims: &[Claim]) {
        if claims.is_empty() {
            return;
        }
        let (places, numbers): (Vec<i64>, Vec<Option<i64>>) = claims.iter().copied().unzip();
        match self.engine() {
            Engine::Sqlite => {
                let rows = places.iter().zip(numbers);
                let rows = rows.map(|(place, number)| match number {
                    Some(number) => format!("[{place},{number}]"),
                    None => format!("[{place},null]"),
                });
                let update = "UPDATE outrigger_outbox SET claim = $2, number = item.value ->> 1
                     FROM json_each($1) AS item WHERE sequence = item.value ->> 0";
                self.execute_later(update, params![json(rows), claim]);
            }
            Engine::Postgres => {
                let update = among_places!(
                    "UPDATE outrigger_outbox SET claim = $4, number = ($5::bigint[])[array_position($1, sequence)]"
                );
                let [all, first, last] = among(&places);
                let numbers = numbers.into_iter().collect();
                self.execute_later(update, [all, first, last, claim.into(), numbers]);
            }
        }
    }

    /// Notes that the bus has messages, by their places, as [`execute_later`](Self::execute_later) does.
    pub fn outbox_sent(&mut self, sequences: &[i64]) {
        if sequences.is_empty() {
            return;
        }
        let now = env::now();
        match self.engine() {
            Engine::Sqlite => {
                let update = "UPDATE outrigger_outbox SET settled_at = $2
                              WHERE sequence IN (SELECT item.value FROM json_each($1) AS item)";
                let places = sequences.iter().map(i64::to_string);
                self.execute_later(update, params![json(places), now]);
            }
            Engine::Postgres => {
                let update = among_places!("UPDATE outrigger_outbox SET settled_at = $4");
                let [all, first, last] = among(sequences);
                self.execute_later(update, [all, first, last, now.into()]);
            }
        }
    }

    /// Sets a message aside that cannot be sent, as [`execute_later`](Self::execute_later) does.
    pub fn outbox_refuse(&mut self, sequence: i64, error: &str) {
        let update =
            "UPDATE outrigger_outbox SET settled_at = $2, refused = $3 WHERE sequence = $1";
        self.execute_later(update, params![sequence, env::now(), error]);
    }
}
