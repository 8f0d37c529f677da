//! Events that a service could not handle, as an operator deals with them.
//!
//! A dead letter is a row of the service's own database. What is done to it here is done in one transaction, and
//! nothing here touches the bus: the place of a group on the bus never moves. Later events of its key wait behind a
//! dead letter in their order, unless its handler [lets them pass](crate::Handlers::or_skip).
//!
//! - **Replayed**, it is tried again with all its attempts, first of its key; what waits behind it follows in order.
//!   Handlers that had handled it do not run again (G3), so replaying twice does what replaying once does.
//! - **Edited**, it is replayed with other data. Its id stays, its envelope says when it was edited, and it is kept as
//!   it came until it is done with.
//! - **Dropped**, it is given up, and what waits behind it goes on.
//!
//! An event that [expired](CloudEvent::expirytime) before it was handled is here too. Nothing waits behind it, and
//! replayed it is handled all the same.

use std::{fmt, str::FromStr};

use data::{Database, Row, Transaction, Value, params};
use env::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{CloudEvent, Error, Result, deferred};

/// The attribute of an event that says when an operator changed its data.
pub const EDITED: &str = "editedat";
/// The most that one page of a list has.
pub const PAGE_LIMIT: u32 = 1000;

/// An event that a group could not handle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The group.
    pub group: String,
    /// The event, as it will be replayed.
    pub event: CloudEvent,
    /// The event as it came, where it was edited since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<CloudEvent>,
    /// The handlers that could not handle it; none where no handler takes its type.
    pub handlers: Vec<String>,
    /// Why it could not be handled the last time.
    pub error: String,
    /// How often that was tried.
    pub attempts: u32,
    /// When it was given up.
    pub time: Timestamp,
    /// How many events of its key wait behind it.
    pub held: u64,
}

/// Which dead letters are meant: those that are all that is said here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Of this group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// With an event of this type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// With the event of this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Only those that expired before they were handled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expired: bool,
}

impl Filter {
    /// The dead letter of the event `id`.
    pub fn id(id: &str) -> Self {
        Self {
            id: Some(id.to_owned()),
            ..Self::default()
        }
    }

    /// The dead letters of events of the type `kind`.
    pub fn kind(kind: &str) -> Self {
        Self {
            kind: Some(kind.to_owned()),
            ..Self::default()
        }
    }

    /// What is let through: a condition whose values are the first three.
    fn condition(&self) -> String {
        let expired = match self.expired {
            true => " AND dead_at >= expires",
            false => "",
        };
        format!("{MEANT}{expired}")
    }

    fn values(&self) -> Vec<Value> {
        [&self.group, &self.kind, &self.id]
            .map(|it| it.clone().into())
            .into()
    }
}

const MEANT: &str = "dead_at IS NOT NULL
    AND consumer_group = COALESCE($1, consumer_group)
    AND type = COALESCE($2, type)
    AND message_id = COALESCE($3, message_id)";

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    group: String,
    id: String,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.id)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (group, id) = text.split_once('/').ok_or_else(|| Error::InvalidCursor {
            cursor: text.to_owned(),
        })?;
        Ok(Self {
            group: group.to_owned(),
            id: id.to_owned(),
        })
    }
}

impl TryFrom<String> for Cursor {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// Dead letters, by group and by id; ids of ours are in the order in which events were published.
    pub dead_letters: Vec<DeadLetter>,
    /// Where the next page begins, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// How many events a service could not handle yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Dead letters, which wait for an operator.
    pub dead: u64,
    /// Those that are tried again, and those that wait behind another of their key.
    pub deferred: u64,
}

/// The dead letters in the database of a service; see the [module](self).
#[derive(Debug, Clone)]
pub struct DeadLetters {
    db: Database,
}

impl DeadLetters {
    /// Those in `db`, whose tables were [made](deferred::install).
    pub fn of(db: &Database) -> Self {
        Self { db: db.clone() }
    }

    /// How many events the service could not handle yet.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn backlog(&self) -> Result<Backlog> {
        let count = "SELECT COUNT(dead_at), COUNT(*) FROM outrigger_deferred";
        let Some(row) = self.db.query_one(count, params![]).await? else {
            return Ok(Backlog::default());
        };
        let (dead, all): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(Backlog {
            dead: dead.unsigned_abs(),
            deferred: (all - dead).unsigned_abs(),
        })
    }

    /// Up to `limit` of those that `filter` means, the first ones or those after `after`. At most [`PAGE_LIMIT`].
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn list(&self, filter: &Filter, after: Option<&Cursor>, limit: u32) -> Result<Page> {
        let meant = filter.condition();
        let list = format!(
            "SELECT consumer_group, message_id, type, key, event, original, handlers, error, attempts, dead_at,
             (SELECT COUNT(*) FROM outrigger_deferred behind
              WHERE behind.consumer_group = it.consumer_group AND behind.key = it.key
              AND it.holds = 1 AND behind.holds = 1 AND behind.position > it.position) AS held
             FROM outrigger_deferred it WHERE {meant} AND (consumer_group, message_id) > ($4, $5)
             ORDER BY consumer_group, message_id LIMIT $6"
        );
        let limit = limit.clamp(1, PAGE_LIMIT);
        let mut values = filter.values();
        values.push(after.map_or("", |after| &after.group).into());
        values.push(after.map_or("", |after| &after.id).into());
        // One more, to know whether there is a next page.
        values.push(i64::from(limit + 1).into());
        let rows = self.db.query(&list, &values).await?;
        let shown = rows.iter().take(limit as usize);
        let dead_letters = shown.map(read).collect::<Result<Vec<_>>>()?;
        let next = match rows.get(limit as usize) {
            None => None,
            Some(_) => dead_letters.last().map(|last| Cursor {
                group: last.group.clone(),
                id: last.event.id.clone(),
            }),
        };
        Ok(Page { dead_letters, next })
    }

    /// The dead letter of the event `id`.
    ///
    /// # Errors
    /// [`Error::NoDeadLetter`], [`Error::Database`].
    pub async fn show(&self, id: &str) -> Result<DeadLetter> {
        let page = self.list(&Filter::id(id), None, 1).await?;
        let first = page.dead_letters.into_iter().next();
        first.ok_or_else(|| gone(id))
    }

    /// Has those that `filter` means tried again, as if for the first time; returns how many.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn replay(&self, filter: &Filter) -> Result<u64> {
        let replay = format!(
            "UPDATE outrigger_deferred SET dead_at = NULL, attempts = 0, due = $4, expires = NULL WHERE {}",
            filter.condition()
        );
        let mut values = filter.values();
        values.push(env::now().into());
        let replaying = self.db.transaction(async |mut tx| {
            let replayed = tx.execute(&replay, &values).await?;
            tx.notify(deferred::CHANNEL);
            Ok::<_, Error>(replayed)
        });
        let replayed = replaying.await?;
        if replayed > 0 {
            tracing::info!(
                owner = self.db.owner(),
                ?filter,
                replayed,
                "dead letters are replayed"
            );
        }
        Ok(replayed)
    }

    /// Has the event `id` tried again with other data.
    ///
    /// # Errors
    /// [`Error::NoDeadLetter`], [`Error::Database`], [`Error::TooLarge`].
    pub async fn replay_edited(&self, id: &str, data: serde_json::Value) -> Result<()> {
        self.db.transaction(|tx| edit(tx, id, data.clone())).await?;
        tracing::info!(
            owner = self.db.owner(),
            id,
            "a dead letter is replayed with other data"
        );
        Ok(())
    }

    /// Gives up those that `filter` means; what waits behind them goes on. Returns how many.
    ///
    /// # Errors
    /// [`Error::Database`]. What was dropped until then stays so.
    pub async fn drop(&self, filter: &Filter) -> Result<u64> {
        let find = format!(
            "SELECT consumer_group, message_id, key FROM outrigger_deferred WHERE {} LIMIT $4",
            filter.condition()
        );
        let mut values = filter.values();
        values.push(i64::from(PAGE_LIMIT).into());
        let mut dropped = 0;
        loop {
            let dropping = self.db.transaction(|tx| drop_some(tx, &find, &values));
            let some = dropping.await?;
            dropped += some;
            if some < u64::from(PAGE_LIMIT) {
                break;
            }
        }
        if dropped > 0 {
            tracing::info!(
                owner = self.db.owner(),
                ?filter,
                dropped,
                "dead letters are dropped"
            );
        }
        Ok(dropped)
    }
}

async fn edit(mut tx: Transaction, id: &str, data: serde_json::Value) -> Result<()> {
    let find = "SELECT event FROM outrigger_deferred WHERE message_id = $1 AND dead_at IS NOT NULL";
    let row = tx.query_one(find, params![id]).await?;
    let row = row.ok_or_else(|| gone(id))?;
    let mut event = CloudEvent::from_json(row.get::<String>("event")?.as_bytes())?;
    event.data = data;
    let now = env::now();
    let edited = now.to_string().into();
    event.extensions.insert(EDITED.to_owned(), edited);
    let json = String::from_utf8_lossy(&event.to_json()?).into_owned();
    // Of every group that could not handle it: what is kept of it is one event.
    let edit = "UPDATE outrigger_deferred SET original = COALESCE(original, event), event = $2,
                dead_at = NULL, attempts = 0, due = $3, expires = NULL
                WHERE message_id = $1 AND dead_at IS NOT NULL";
    tx.execute(edit, params![id, json, now]).await?;
    tx.notify(deferred::CHANNEL);
    Ok(())
}

/// Drops what `find` finds; returns how many.
async fn drop_some(mut tx: Transaction, find: &str, values: &[Value]) -> Result<u64> {
    let rows = tx.query(find, values).await?;
    for row in &rows {
        let (group, id, key): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        deferred::remove(&mut tx, &group, &id, &key).await?;
    }
    Ok(rows.len() as u64)
}

fn read(row: &Row) -> Result<DeadLetter> {
    let original: Option<String> = row.get("original")?;
    let handlers: String = row.get("handlers")?;
    Ok(DeadLetter {
        group: row.get("consumer_group")?,
        event: event(row, row.get("event")?)?,
        original: original.map(|json| event(row, json)).transpose()?,
        handlers: handlers.split_whitespace().map(str::to_owned).collect(),
        error: row.get::<Option<String>>("error")?.unwrap_or_default(),
        attempts: row.get("attempts")?,
        time: row.get("dead_at")?,
        held: row.get("held")?,
    })
}

/// The event in `json`. What somebody has written there by hand and is none is shown as the data of one, so that it
/// can be seen, edited and dropped.
fn event(row: &Row, json: String) -> Result<CloudEvent> {
    if let Ok(event) = CloudEvent::from_json(json.as_bytes()) {
        return Ok(event);
    }
    let (kind, key): (String, String) = (row.get("type")?, row.get("key")?);
    let mut event = CloudEvent::new(kind, key, json.into());
    event.id = row.get("message_id")?;
    Ok(event)
}

fn gone(id: &str) -> Error {
    Error::NoDeadLetter { id: id.to_owned() }
}
