//! What a service will do later, kept through a restart.
//!
//! A timer is set in the transaction that wants it, and taken in the transaction that acts on it.
//! So it fires once, and what it does happens with its going.

use std::time::Duration;

use env::Timestamp;

use crate::{Changes, Database, Engine, Result, Row, Transaction, params};

const CHANNEL: &str = "outrigger_timers";

/// How often those who act on timers look for them at least, whether they are woken or not.
pub const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Nobody is woken for a timer that is due later than this: until then those who act on it have looked, and so they have
/// when the transaction that sets it takes its time.
const SOON: Duration = Duration::from_secs(15);

/// Something to do at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// Unique in the database. Scheduling it again moves it.
    pub id: String,
    /// Who takes it: each kind is asked for by its own loop.
    pub kind: String,
    /// When. Kept to the millisecond.
    pub due: Timestamp,
    /// What is needed to do it.
    pub payload: Vec<u8>,
}

impl Transaction {
    /// Sets a timer, or moves the one with the same id, as [`execute_later`](Self::execute_later) does. It wakes those who
    /// [wait](Database::timers_changed) for timers, unless they have to [look](LOOK_AGAIN) before it is due anyway.
    pub fn schedule(&mut self, timer: Timer) {
        let Timer {
            id,
            kind,
            due,
            payload,
        } = timer;
        let wait = Duration::try_from(due.duration_since(env::now())).unwrap_or_default();
        if wait < SOON {
            self.notify(CHANNEL);
        }
        self.execute_later(
            "INSERT INTO outrigger_timers (id, kind, due, payload) VALUES ($1, $2, $3, $4)
             ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, due = excluded.due, payload = excluded.payload",
            params![id, kind, due, payload],
        );
    }

    /// Removes a timer, if there is one, as [`execute_later`](Self::execute_later) does.
    pub fn cancel_timer(&mut self, id: &str) {
        self.execute_later("DELETE FROM outrigger_timers WHERE id = $1", params![id]);
    }

    /// Removes a timer in order to act on it; whether there was one that nobody else is acting on. Of several
    /// processes that try, none waits for another.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn take_timer(&mut self, id: &str) -> Result<bool> {
        let take = match self.engine() {
            Engine::Sqlite => "DELETE FROM outrigger_timers WHERE id = $1",
            Engine::Postgres => {
                "DELETE FROM outrigger_timers WHERE id =
                 (SELECT id FROM outrigger_timers WHERE id = $1 FOR UPDATE SKIP LOCKED)"
            }
        };
        Ok(self.execute(take, params![id]).await? == 1)
    }
}

impl Database {
    /// When the next timer of a kind is due.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn next_timer(&self, kind: &str) -> Result<Option<Timestamp>> {
        let row = self
            .query_one(
                "SELECT min(due) FROM outrigger_timers WHERE kind = $1",
                params![kind],
            )
            .await?;
        row.map_or(Ok(None), |row| row.get(0))
    }

    /// Up to `limit` timers of a kind that are due at `now`, the earliest first, without taking them. Who acts on one
    /// takes it with [`take_timer`](Transaction::take_timer) first: that is true for one of all who try.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn timers_due(&self, kind: &str, now: Timestamp, limit: u32) -> Result<Vec<Timer>> {
        let due = "SELECT id, kind, due, payload FROM outrigger_timers
                   WHERE kind = $1 AND due <= $2 ORDER BY due, id LIMIT $3";
        let rows = self.query(due, params![kind, now, limit]).await?;
        rows.iter().map(read).collect()
    }

    /// Being woken by a commit that set a timer which is due soon: it may be before the one that is waited for. Of those
    /// that are due later nothing is said: who waits looks by itself, every [`LOOK_AGAIN`].
    pub fn timers_changed(&self) -> Changes {
        self.changes(CHANNEL)
    }
}

fn read(row: &Row) -> Result<Timer> {
    Ok(Timer {
        id: row.get(0)?,
        kind: row.get(1)?,
        due: row.get(2)?,
        payload: row.get(3)?,
    })
}
