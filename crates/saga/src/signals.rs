//! Signals: events that sagas wait for, and waits for events, in whichever order they come.
//!
//! Those of one type and key meet in a mailbox. Whoever comes to it, with an event or to wait, takes a turn, which
//! makes two who come at the same moment follow one another: one of them finds what the other left. Who leaves nothing
//! and nobody behind removes the mailbox.

use data::{Transaction, params};
use env::Timestamp;
use serde_json::Value;

use crate::{Entry, Result, step::Effect, store::Record};

/// A saga that waits.
pub(crate) struct Wait {
    pub(crate) saga: String,
    pub(crate) seq: u32,
}

/// Brings an event. It is taken out again for the saga that has waited longest, or kept until one does.
pub(crate) async fn bring(
    tx: &mut Transaction,
    event: &str,
    key: &str,
    data: &str,
) -> Result<Option<Wait>> {
    let turn = turn(tx, event, key).await?;
    let find = "SELECT saga_id, seq FROM outrigger_saga_waits
                WHERE event = $1 AND key = $2 ORDER BY turn LIMIT 1";
    if let Some(row) = tx.query_one(find, params![event, key]).await? {
        let wait = Wait {
            saga: row.get("saga_id")?,
            seq: row.get("seq")?,
        };
        let delete = "DELETE FROM outrigger_saga_waits WHERE saga_id = $1 AND seq = $2";
        tx.execute(delete, params![wait.saga.as_str(), wait.seq])
            .await?;
        close(tx, event, key).await?;
        return Ok(Some(wait));
    }
    tx.execute(
        "INSERT INTO outrigger_saga_signals (event, key, turn, data, received) VALUES ($1, $2, $3, $4, $5)",
        params![event, key, turn, data, env::now()],
    )
    .await?;
    Ok(None)
}

/// Waits for the events that `effects` say, with what was there already for an answer.
pub(crate) async fn listen(
    tx: &mut Transaction,
    record: &Record,
    effects: &[Effect],
) -> Result<Vec<Entry>> {
    let mut arrived = Vec::new();
    for effect in effects {
        let Effect::Listen {
            seq, event, key, ..
        } = effect
        else {
            continue;
        };
        let key = key.as_deref().unwrap_or(&record.id);
        if let Some(data) = wait(tx, &record.id, *seq, event, key).await? {
            // Text that is no JSON is nothing that the function could read: it parks the saga.
            let data = serde_json::from_str(&data).unwrap_or(Value::String(data));
            arrived.push(Entry::Signalled { seq: *seq, data });
        }
    }
    Ok(arrived)
}

/// Waits, unless there is an event: then that.
async fn wait(
    tx: &mut Transaction,
    id: &str,
    seq: u32,
    event: &str,
    key: &str,
) -> Result<Option<String>> {
    let turn = turn(tx, event, key).await?;
    let take = "DELETE FROM outrigger_saga_signals WHERE event = $1 AND key = $2 AND turn =
                (SELECT min(turn) FROM outrigger_saga_signals WHERE event = $1 AND key = $2)
                RETURNING data";
    if let Some(row) = tx.query_one(take, params![event, key]).await? {
        close(tx, event, key).await?;
        return Ok(Some(row.get("data")?));
    }
    tx.execute(
        "INSERT INTO outrigger_saga_waits (saga_id, seq, event, key, turn) VALUES ($1, $2, $3, $4, $5)",
        params![id, seq, event, key, turn],
    )
    .await?;
    Ok(None)
}

async fn turn(tx: &mut Transaction, event: &str, key: &str) -> Result<i64> {
    let take = "INSERT INTO outrigger_saga_mailboxes (event, key, turn) VALUES ($1, $2, 1)
                ON CONFLICT (event, key) DO UPDATE SET turn = outrigger_saga_mailboxes.turn + 1 RETURNING turn";
    let row = tx.query_one(take, params![event, key]).await?;
    Ok(row.map_or(Ok(0), |row| row.get("turn"))?)
}

/// Waits no longer at `seq`, or at no step at all.
pub(crate) async fn give_up(tx: &mut Transaction, id: &str, seq: Option<u32>) -> Result<()> {
    let delete = "DELETE FROM outrigger_saga_waits WHERE saga_id = $1 AND (seq = $2 OR $2 < 0)
                  RETURNING event, key";
    let seq = seq.map_or(-1, i64::from);
    for row in tx.query(delete, params![id, seq]).await? {
        let (event, key): (String, String) = (row.get("event")?, row.get("key")?);
        close(tx, &event, &key).await?;
    }
    Ok(())
}

/// Throws up to `limit` events away that came before `before`, and mailboxes that are empty then; how many events.
pub(crate) async fn forget(tx: &mut Transaction, before: Timestamp, limit: u32) -> Result<usize> {
    let find = "SELECT event, key, turn FROM outrigger_saga_signals
                WHERE received < $1 ORDER BY received LIMIT $2";
    let old = tx.query(find, params![before, limit]).await?;
    for row in &old {
        let (event, key): (String, String) = (row.get("event")?, row.get("key")?);
        let turn: i64 = row.get("turn")?;
        let delete =
            "DELETE FROM outrigger_saga_signals WHERE event = $1 AND key = $2 AND turn = $3";
        tx.execute(delete, params![event.as_str(), key.as_str(), turn])
            .await?;
        close(tx, &event, &key).await?;
    }
    Ok(old.len())
}

/// Removes a mailbox in which nothing is and at which nobody waits.
async fn close(tx: &mut Transaction, event: &str, key: &str) -> Result<()> {
    let delete = "DELETE FROM outrigger_saga_mailboxes WHERE event = $1 AND key = $2
        AND NOT EXISTS (SELECT 1 FROM outrigger_saga_signals WHERE event = $1 AND key = $2)
        AND NOT EXISTS (SELECT 1 FROM outrigger_saga_waits WHERE event = $1 AND key = $2)";
    tx.execute(delete, params![event, key]).await?;
    Ok(())
}
