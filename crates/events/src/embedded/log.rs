//! The statements of the embedded bus: all that is known of its tables.

use std::sync::Arc;

use data::{Database, Row, Transaction, params};
use env::Timestamp;

use super::{GroupStatus, Options};
use crate::{CloudEvent, Delivery, Result, pattern};

// The states of a delivery are 0, ready, and 1, held; embedded/schema.sql says what they mean. Conditions have them
// as literals, for the partial indexes.

/// Appends what is not in the log yet, for every group that wants it. Returns all groups that want any of it.
pub(super) async fn append(
    tx: &mut Transaction,
    batch: Vec<(&CloudEvent, Vec<u8>)>,
) -> Result<Vec<String>> {
    let groups = every_group(tx).await?;
    let mut wanting = vec![false; groups.len()];
    for (event, json) in batch {
        let inserted = tx
            .query_one(
                "INSERT INTO log (id, type, key, time, event) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (id) DO NOTHING RETURNING sequence",
                params![
                    event.id.as_str(),
                    event.kind.as_str(),
                    event.key(),
                    env::now().as_millisecond(),
                    json
                ],
            )
            .await?;
        for (group, wants) in groups.iter().zip(&mut wanting) {
            if !group.wants(&event.kind) {
                continue;
            }
            // Also for what was there before: whoever published it may not have come to wake the group.
            *wants = true;
            if let Some(row) = &inserted {
                let sequence: i64 = row.get("sequence")?;
                tx.execute(
                    "INSERT INTO deliveries (group_id, sequence, key, state) VALUES ($1, $2, $3,
                     EXISTS (SELECT 1 FROM deliveries WHERE group_id = $1 AND key = $3))",
                    params![group.id, sequence, event.key()],
                )
                .await?;
            }
        }
    }
    let wanting = groups.into_iter().zip(wanting);
    Ok(wanting
        .filter_map(|(group, wants)| wants.then_some(group.name))
        .collect())
}

struct GroupRow {
    id: i64,
    name: String,
    types: String,
}

impl GroupRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            name: row.get("name")?,
            types: row.get("types")?,
        })
    }

    fn types(&self) -> impl Iterator<Item = &str> {
        self.types.split_whitespace()
    }

    fn wants(&self, kind: &str) -> bool {
        self.types().any(|wanted| pattern::covers(wanted, kind))
    }

    /// Returns whether they are others than before.
    async fn set_types(&self, tx: &mut Transaction, types: &[&str]) -> Result<bool> {
        let types = types.join(" ");
        if types == self.types {
            return Ok(false);
        }
        let update = "UPDATE consumer_groups SET types = $2 WHERE id = $1";
        tx.execute(update, params![self.id, types]).await?;
        Ok(true)
    }
}

/// Read in the transaction that appends: a group that is made meanwhile comes wholly before it or wholly after.
async fn every_group(tx: &mut Transaction) -> Result<Vec<GroupRow>> {
    let every = "SELECT id, name, types FROM consumer_groups ORDER BY id";
    let rows = tx.query(every, params![]).await?;
    rows.iter().map(GroupRow::read).collect()
}

async fn group(tx: &mut Transaction, name: &str) -> Result<Option<GroupRow>> {
    let find = "SELECT id, name, types FROM consumer_groups WHERE name = $1";
    let row = tx.query_one(find, params![name]).await?;
    row.as_ref().map(GroupRow::read).transpose()
}

/// Makes the group, which then has all that is in the log to handle, or adds to what it wants. Returns its id.
pub(super) async fn join(tx: &mut Transaction, name: &str, types: &[&str]) -> Result<i64> {
    if let Some(group) = group(tx, name).await? {
        let mut wanted: Vec<&str> = group.types().chain(types.iter().copied()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        group.set_types(tx, &wanted).await?;
        return Ok(group.id);
    }
    let insert = "INSERT INTO consumer_groups (name, types) VALUES ($1, $2) RETURNING id";
    let row = tx.query_one(insert, params![name, types.join(" ")]).await?;
    let id: i64 = row.map_or(Ok(0), |row| row.get("id"))?;
    let (condition, mut values) = pattern::condition(types.iter().copied(), 2);
    values.insert(0, id.into());
    let from_the_start = format!(
        "INSERT INTO deliveries (group_id, sequence, key, state)
         SELECT $1, sequence, key, 1 FROM log WHERE {condition}"
    );
    tx.execute(&from_the_start, &values).await?;
    release_all(tx, id).await?;
    Ok(id)
}

/// Removes `types` from what a group wants, with what waits of them.
pub(super) async fn leave_out(tx: &mut Transaction, name: &str, types: &[String]) -> Result<()> {
    let Some(group) = group(tx, name).await? else {
        return Ok(());
    };
    let kept = |it: &&str| !types.iter().any(|left_out| left_out == it);
    let kept: Vec<&str> = group.types().filter(kept).collect();
    if !group.set_types(tx, &kept).await? {
        return Ok(());
    }
    let (condition, mut values) = pattern::condition(kept, 2);
    values.insert(0, group.id.into());
    let unwanted = format!(
        "DELETE FROM deliveries WHERE group_id = $1
         AND sequence IN (SELECT sequence FROM log WHERE NOT ({condition}))"
    );
    tx.execute(&unwanted, &values).await?;
    release_all(tx, group.id).await
}

/// Makes the earliest of every key ready, where it is held by nothing any more.
async fn release_all(tx: &mut Transaction, group: i64) -> Result<()> {
    let release =
        "UPDATE deliveries SET state = 0 WHERE group_id = $1 AND state = 1 AND sequence IN
                   (SELECT MIN(sequence) FROM deliveries WHERE group_id = $1 GROUP BY key)";
    tx.execute(release, params![group]).await?;
    Ok(())
}

/// The same for one key; returns whether there was something to release.
async fn release(tx: &mut Transaction, group: i64, key: &str) -> Result<bool> {
    let release = "UPDATE deliveries SET state = 0 WHERE group_id = $1 AND state = 1 AND sequence =
                   (SELECT MIN(sequence) FROM deliveries WHERE group_id = $1 AND key = $2)";
    Ok(tx.execute(release, params![group, key]).await? > 0)
}

/// Whether there is such a group.
pub(super) async fn is_known(db: &Database, name: &str) -> Result<bool> {
    let find = "SELECT 1 FROM consumer_groups WHERE name = $1";
    Ok(db.query_one(find, params![name]).await?.is_some())
}

/// Has the group handle once more what was taken from `since` on.
pub(super) async fn rewind(tx: &mut Transaction, name: &str, since: Timestamp) -> Result<()> {
    let Some(group) = group(tx, name).await? else {
        return Ok(());
    };
    // What comes back may be earlier than what is ready.
    let hold = "UPDATE deliveries SET state = 1 WHERE group_id = $1";
    tx.execute(hold, params![group.id]).await?;
    let (condition, wanted) = pattern::condition(group.types(), 3);
    let mut values = vec![group.id.into(), since.as_millisecond().into()];
    values.extend(wanted);
    // By place, for the clock may have been set back in between.
    let again = format!(
        "INSERT INTO deliveries (group_id, sequence, key, state)
         SELECT $1, sequence, key, 1 FROM log
         WHERE sequence >= (SELECT MIN(sequence) FROM log WHERE time >= $2) AND ({condition})
         ON CONFLICT DO NOTHING"
    );
    tx.execute(&again, &values).await?;
    release_all(tx, group.id).await
}

/// Removes a group and what it has still to handle.
pub(super) async fn forget(tx: &mut Transaction, name: &str) -> Result<()> {
    let pending = "DELETE FROM deliveries
                   WHERE group_id IN (SELECT id FROM consumer_groups WHERE name = $1)";
    tx.execute(pending, params![name]).await?;
    let group = "DELETE FROM consumer_groups WHERE name = $1";
    tx.execute(group, params![name]).await?;
    Ok(())
}

/// The last place of the log that is taken.
pub(super) async fn last(db: &Database) -> Result<i64> {
    let row = db
        .query_one("SELECT COALESCE(MAX(sequence), 0) FROM log", params![])
        .await?;
    Ok(row.map_or(Ok(0), |row| row.get(0))?)
}

/// What a group may handle, the earliest first; what is being handled is among it.
pub(super) async fn ready(db: &Database, group: i64, limit: usize) -> Result<Vec<i64>> {
    let ready = "SELECT sequence FROM deliveries WHERE group_id = $1 AND state = 0
                 ORDER BY sequence LIMIT $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = db.query(ready, params![group, limit]).await?;
    rows.iter().map(|row| Ok(row.get("sequence")?)).collect()
}

/// What is delivered, if it may still be, and how many bytes its JSON has.
pub(super) async fn delivery(
    db: &Database,
    group: i64,
    sequence: i64,
) -> Result<Option<(Delivery, usize)>> {
    let find = "SELECT d.attempts, l.event FROM deliveries d JOIN log l ON l.sequence = d.sequence
                WHERE d.group_id = $1 AND d.sequence = $2 AND d.state = 0";
    let Some(row) = db.query_one(find, params![group, sequence]).await? else {
        return Ok(None);
    };
    let json: Vec<u8> = row.get("event")?;
    let delivery = Delivery {
        event: Arc::new(CloudEvent::from_json(&json)?),
        attempt: row.get::<u32>("attempts")?.saturating_add(1),
        lease: sequence,
    };
    Ok(Some((delivery, json.len())))
}

/// Counts deliveries that begin now.
pub(super) async fn count(tx: &mut Transaction, group: i64, taken: &[Delivery]) -> Result<()> {
    let update = "UPDATE deliveries SET attempts = $3 WHERE group_id = $1 AND sequence = $2";
    for delivery in taken {
        tx.execute(update, params![group, delivery.lease, delivery.attempt])
            .await?;
    }
    Ok(())
}

/// Removes what is done with; returns whether another may go for it.
pub(super) async fn settle(tx: &mut Transaction, group: i64, sequence: i64) -> Result<bool> {
    let remove = "DELETE FROM deliveries WHERE group_id = $1 AND sequence = $2 RETURNING key";
    match tx.query_one(remove, params![group, sequence]).await? {
        Some(row) => release(tx, group, &row.get::<String>("key")?).await,
        None => Ok(false),
    }
}

/// How every group is doing.
pub(super) async fn groups(db: &Database) -> Result<Vec<GroupStatus>> {
    let find = "SELECT g.name, g.types, COUNT(d.sequence) AS pending
                FROM consumer_groups g LEFT JOIN deliveries d ON d.group_id = g.id
                GROUP BY g.id ORDER BY g.name";
    let rows = db.query(find, params![]).await?;
    rows.iter()
        .map(|row| {
            let types: String = row.get("types")?;
            Ok(GroupStatus {
                group: row.get("name")?,
                types: types.split_whitespace().map(str::to_owned).collect(),
                pending: row.get("pending")?,
            })
        })
        .collect()
}

/// Removes the oldest of what every group has handled, as far as `options` allow.
pub(super) async fn prune(tx: &mut Transaction, options: &Options) -> Result<()> {
    let oldest = env::now().saturating_sub(options.max_age);
    let oldest = oldest.unwrap_or(Timestamp::MIN);
    let prune = "DELETE FROM log WHERE sequence IN (
                     SELECT l.sequence FROM log l
                     WHERE l.sequence <= MAX(
                         COALESCE((SELECT MAX(sequence) FROM log), 0) - $1,
                         COALESCE((SELECT sequence FROM log WHERE time < $2 ORDER BY time DESC LIMIT 1), 0))
                     AND l.sequence < (SELECT MAX(sequence) FROM log)
                     AND NOT EXISTS (
                         SELECT 1 FROM consumer_groups g CROSS JOIN deliveries d
                         WHERE d.group_id = g.id AND d.sequence = l.sequence)
                     ORDER BY l.sequence LIMIT 4096)";
    let most = i64::from(options.max_events.max(1));
    tx.execute(prune, params![most, oldest.as_millisecond()])
        .await?;
    Ok(())
}
