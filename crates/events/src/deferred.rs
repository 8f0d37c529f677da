//! What a group could not handle yet: kept in the service's own database, behind the inbox.
//!
//! An event whose handler failed is taken over: its entry in the inbox and its row here commit together, and then
//! the bus has done its work. So a retry holds up no other key on any bus, and a dead letter is a row like any other.
//! Later events of its key are taken over too and wait behind it: the order by key survives (G4).
//!
//! # Why nothing is overlooked
//!
//! An event comes from the bus only when the one before it of its key is settled: handled, or a row here. So whoever
//! finds no row of its key may handle it. Whoever finds one puts its own behind it, and touches the one before it:
//! on an engine whose transactions run side by side, that one cannot be removed (with nothing to be released behind
//! it) by a transaction that did not see the new row. One of the two runs again, and sees what the other did.
//!
//! Who handles a row first claims it, and prolongs that while the handlers run. A claim counts as an attempt before it has
//! begun, so an event that ends the process each time becomes a dead letter, not a loop. That its effects happen
//! once is not the claim's work but the inbox's, as everywhere (G3).

mod claimable;

use std::time::Duration;

use data::{Database, Migration, Row, Statement, Transaction, params};
use env::Timestamp;

pub(crate) use self::claimable::Claimable;
use crate::{CloudEvent, Result};

/// The part of the schema that is ours.
const PART: &str = "events";
const MIGRATIONS: &[Migration] = &[
    Migration::new(
        1,
        "deferred events and dead letters",
        include_str!("deferred/schema.sql"),
    ),
    Migration::new(2, "numbers of events", include_str!("sequence/schema.sql")),
    Migration::new(
        3,
        "events that expire",
        "ALTER TABLE outrigger_deferred ADD COLUMN expires BIGINT",
    ),
];

/// Woken by a commit after which something may be due.
pub(crate) const CHANNEL: &str = "outrigger_deferred";

/// Why an event is a dead letter that nobody could claim.
const NO_HANDLER: &str = "no version of the service that runs has a handler for it; replay it once one does, or, if none \
                          will, say `.without(..)` of its type and drop it";

/// The most bytes that are kept of an error.
const ERROR_LIMIT: usize = 4096;

/// Makes the tables of this crate in the database of a service. [`consumer::run`](crate::consumer::run) does so too.
///
/// # Errors
/// [`Error::Database`](crate::Error::Database).
pub async fn install(db: &Database) -> Result<()> {
    Ok(db.migrate_part(PART, MIGRATIONS).await?)
}

/// How an event that comes from the bus stands to what is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing is in its way.
    Free,
    /// It was taken over before.
    TakenOver,
    /// An earlier one of its key is here.
    Held,
}

/// What becomes of an event that is taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// It waits for the one before it in its queue. When there is none any more, it is not taken over.
    Wait,
    /// It is handled once so much time has passed, after so many attempts.
    Retry {
        after: Duration,
        attempts: u32,
        error: Option<String>,
    },
    /// It is a dead letter, after so many attempts.
    Dead { attempts: u32, error: String },
}

/// What is taken over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Burden<'a> {
    pub(crate) group: &'a str,
    pub(crate) event: &'a CloudEvent,
    /// Which handlers are still to run; empty: all that match.
    pub(crate) handlers: &'a [String],
    /// Whether those of its key wait behind it.
    pub(crate) holds: bool,
}

/// Whether an event was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Over,
    /// It had been before.
    Before,
    /// It need not wait any more; nothing was written.
    NotHeld,
}

/// A row that may be handled now.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) id: String,
    pub(crate) key: String,
    /// What is kept of the event; it fails only where somebody has written it by hand.
    pub(crate) event: Result<CloudEvent>,
    pub(crate) handlers: Vec<String>,
    pub(crate) attempts: u32,
    due: i64,
}

/// Looks before an event is handled.
pub(crate) async fn standing(db: &Database, group: &str, event: &CloudEvent) -> Result<Standing> {
    let look = "SELECT (SELECT COUNT(*) FROM outrigger_inbox WHERE consumer = $1 AND message_id = $2) AS known,
                (SELECT MAX(position) FROM outrigger_deferred
                 WHERE consumer_group = $1 AND key = $3 AND holds = 1) AS last";
    let values = params![group, event.id.as_str(), event.key()];
    let Some(row) = db.query_one(look, values).await? else {
        return Ok(Standing::Free);
    };
    Ok(if row.get::<i64>("known")? > 0 {
        Standing::TakenOver
    } else if row.get::<Option<i64>>("last")?.is_some() {
        Standing::Held
    } else {
        Standing::Free
    })
}

/// Changes one row the first time that the handler of `inbox` handles an event which is [free](Standing::Free); none when
/// it has done so before, or the event is not.
pub(crate) fn receipt_if_free(group: &str, inbox: &str, event: &CloudEvent) -> Statement {
    let receipt = "INSERT INTO outrigger_inbox (consumer, message_id, received_at)
         SELECT $1, $2, CAST($3 AS BIGINT)
         WHERE NOT EXISTS (SELECT 1 FROM outrigger_inbox WHERE consumer = $4 AND message_id = $2)
         AND NOT EXISTS (SELECT 1 FROM outrigger_deferred WHERE consumer_group = $4 AND key = $5 AND holds = 1)
         ON CONFLICT DO NOTHING";
    let id = event.id.as_str();
    Statement::new(receipt, params![inbox, id, env::now(), group, event.key()])
}

/// Takes an event over from the bus, at most once.
pub(crate) async fn take_over(
    tx: &mut Transaction,
    burden: Burden<'_>,
    plan: &Plan,
) -> Result<Taken> {
    let Burden { group, event, .. } = burden;
    if !tx.receive(group, &event.id).await? {
        return Ok(Taken::Before);
    }
    let before = if burden.holds || *plan == Plan::Wait {
        follow(tx, group, event.key()).await?
    } else {
        None
    };
    if before.is_none() && *plan == Plan::Wait {
        return Ok(Taken::NotHeld);
    }
    let now = env::now();
    let (attempts, due, dead_at, error) = match (before, plan) {
        // Whatever became of it: it is not its turn.
        (Some(_), _) | (None, Plan::Wait) => (0, None, None, None),
        (
            None,
            Plan::Retry {
                after,
                attempts,
                error,
            },
        ) => (*attempts, Some(later(now, *after)), None, error.as_deref()),
        (None, Plan::Dead { attempts, error }) => {
            (*attempts, None, Some(now), Some(error.as_str()))
        }
    };
    let json = event.to_stored()?;
    tx.execute(
        "INSERT INTO outrigger_deferred (consumer_group, message_id, type, key, position, holds, handlers, event,
                                         attempts, due, dead_at, error, deferred_at, expires)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        params![
            group,
            event.id.as_str(),
            event.kind.as_str(),
            event.key(),
            before.unwrap_or(0) + 1,
            burden.holds || before.is_some(),
            burden.handlers.join(" "),
            json,
            attempts,
            due,
            dead_at,
            error.map(shortened),
            now,
            event.expirytime
        ],
    )
    .await?;
    tx.notify(CHANNEL);
    Ok(Taken::Over)
}

/// The place of the last in the queue of a key, which is touched: see the [module](self).
async fn follow(tx: &mut Transaction, group: &str, key: &str) -> Result<Option<i64>> {
    let touch = "UPDATE outrigger_deferred SET followed = 1
                 WHERE consumer_group = $1 AND key = $2 AND holds = 1 AND position =
                     (SELECT MAX(position) FROM outrigger_deferred
                      WHERE consumer_group = $1 AND key = $2 AND holds = 1)
                 RETURNING position";
    let last = tx.query_one(touch, params![group, key]).await?;
    Ok(last.map(|row| row.get("position")).transpose()?)
}

/// What may be handled now of what is `claimable`, the longest due first.
pub(crate) async fn due(
    db: &Database,
    group: &str,
    claimable: Claimable<'_>,
    limit: usize,
) -> Result<Vec<Due>> {
    let (condition, more) = claimable.condition(4);
    let find = format!(
        "SELECT message_id, key, event, handlers, attempts, due, expires FROM outrigger_deferred
         WHERE consumer_group = $1 AND due <= $2 AND {condition} ORDER BY due, message_id LIMIT $3"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut values = params![group, env::now(), limit].to_vec();
    values.extend(more);
    let rows = db.query(&find, &values).await?;
    rows.iter().map(Due::read).collect()
}

/// When the next of what is `claimable` will be due.
pub(crate) async fn next_due(
    db: &Database,
    group: &str,
    claimable: Claimable<'_>,
) -> Result<Option<Timestamp>> {
    let (condition, more) = claimable.condition(2);
    let find = format!(
        "SELECT MIN(due) FROM outrigger_deferred WHERE consumer_group = $1 AND due IS NOT NULL AND {condition}"
    );
    let mut values = params![group].to_vec();
    values.extend(more);
    let row = db.query_one(&find, &values).await?;
    Ok(row.map_or(Ok(None), |row| row.get(0))?)
}

/// Makes dead letters of what has been due since `before` and is not `claimable`; how many.
pub(crate) async fn give_up(
    tx: &mut Transaction,
    group: &str,
    claimable: Claimable<'_>,
    before: Timestamp,
) -> Result<u64> {
    let (condition, more) = claimable.condition(5);
    let give_up = format!(
        "UPDATE outrigger_deferred SET dead_at = $3, due = NULL, error = $4
         WHERE consumer_group = $1 AND due < $2 AND NOT {condition}"
    );
    let mut values = params![group, before, env::now(), NO_HANDLER].to_vec();
    values.extend(more);
    Ok(tx.execute(&give_up, &values).await?)
}

impl Due {
    fn read(row: &Row) -> Result<Self> {
        let event: String = row.get("event")?;
        let handlers: String = row.get("handlers")?;
        // An operator may have lifted that.
        let expirytime: Option<Timestamp> = row.get("expires")?;
        let event = CloudEvent::from_json(event.as_bytes());
        Ok(Self {
            id: row.get("message_id")?,
            key: row.get("key")?,
            event: event.map(|event| CloudEvent {
                expirytime,
                ..event
            }),
            handlers: handlers.split_whitespace().map(str::to_owned).collect(),
            attempts: row.get("attempts")?,
            due: row.get("due")?,
        })
    }

    /// Begins an attempt, which nobody else begins within `lease`. False when somebody else has begun it.
    pub(crate) async fn claim(
        &mut self,
        tx: &mut Transaction,
        group: &str,
        lease: Duration,
    ) -> Result<bool> {
        let claim = "UPDATE outrigger_deferred SET attempts = attempts + 1, due = $5
                     WHERE consumer_group = $1 AND message_id = $2 AND attempts = $3 AND due = $4";
        let until = later(env::now(), lease);
        let values = params![group, self.id.as_str(), self.attempts, self.due, until];
        let claimed = tx.execute(claim, values).await? == 1;
        self.attempts += 1;
        Ok(claimed)
    }

    /// Has nobody else begin an attempt for another `lease` from now.
    pub(crate) async fn prolong(
        &self,
        tx: &mut Transaction,
        group: &str,
        lease: Duration,
    ) -> Result<()> {
        let prolong = "UPDATE outrigger_deferred SET due = $4
                       WHERE consumer_group = $1 AND message_id = $2 AND attempts = $3 AND due IS NOT NULL";
        let until = later(env::now(), lease);
        let values = params![group, self.id.as_str(), self.attempts, until];
        tx.execute(prolong, values).await?;
        Ok(())
    }

    /// Ends it: it was handled. The next of its key goes on.
    pub(crate) async fn done(&self, tx: &mut Transaction, group: &str) -> Result<()> {
        remove(tx, group, &self.id, &self.key).await
    }

    /// Ends an attempt that failed. An attempt that has lost its claim changes nothing.
    pub(crate) async fn failed(
        &self,
        tx: &mut Transaction,
        group: &str,
        handlers: &[String],
        holds: bool,
        plan: &Plan,
    ) -> Result<()> {
        let (attempts, due, dead_at, error) = match plan {
            Plan::Wait => return Ok(()),
            Plan::Retry {
                after,
                attempts,
                error,
            } => {
                let due = later(env::now(), *after);
                (*attempts, Some(due), None, error.as_deref())
            }
            Plan::Dead { attempts, error } => {
                (*attempts, None, Some(env::now()), Some(error.as_str()))
            }
        };
        let update = "UPDATE outrigger_deferred
                      SET attempts = $4, due = $5, dead_at = $6, error = COALESCE($7, error), handlers = $8,
                          holds = CASE WHEN $9 = 1 THEN holds ELSE 0 END
                      WHERE consumer_group = $1 AND message_id = $2 AND attempts = $3 AND due IS NOT NULL";
        let values = params![
            group,
            self.id.as_str(),
            self.attempts,
            attempts,
            due,
            dead_at,
            error.map(shortened),
            handlers.join(" "),
            i64::from(holds)
        ];
        tx.execute(update, values).await?;
        if !holds {
            release(tx, group, &self.key).await?;
        }
        tx.notify(CHANNEL);
        Ok(())
    }
}

/// Removes a row, and lets the next of its key go.
pub(crate) async fn remove(tx: &mut Transaction, group: &str, id: &str, key: &str) -> Result<()> {
    let remove = "DELETE FROM outrigger_deferred WHERE consumer_group = $1 AND message_id = $2";
    tx.execute(remove, params![group, id]).await?;
    release(tx, group, key).await
}

/// Lets the first of a queue go, unless it is a dead letter.
async fn release(tx: &mut Transaction, group: &str, key: &str) -> Result<()> {
    let release = "UPDATE outrigger_deferred SET due = $3
                   WHERE consumer_group = $1 AND key = $2 AND holds = 1 AND due IS NULL AND dead_at IS NULL
                   AND position = (SELECT MIN(position) FROM outrigger_deferred
                                   WHERE consumer_group = $1 AND key = $2 AND holds = 1)";
    tx.execute(release, params![group, key, env::now()]).await?;
    tx.notify(CHANNEL);
    Ok(())
}

/// Lets every queue go whose first waits for nothing: somebody has removed the one before it by hand.
pub(crate) async fn release_all(tx: &mut Transaction, group: &str) -> Result<u64> {
    let release = "UPDATE outrigger_deferred SET due = $2
                   WHERE consumer_group = $1 AND holds = 1 AND due IS NULL AND dead_at IS NULL
                   AND NOT EXISTS (SELECT 1 FROM outrigger_deferred earlier
                                   WHERE earlier.consumer_group = $1 AND earlier.key = outrigger_deferred.key
                                   AND earlier.holds = 1 AND earlier.position < outrigger_deferred.position)";
    Ok(tx.execute(release, params![group, env::now()]).await?)
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn shortened(error: &str) -> String {
    // PostgreSQL takes no NUL in a text.
    error[..error.floor_char_boundary(ERROR_LIMIT)].replace('\0', "\u{fffd}")
}
