//! Giving numbers.

use std::collections::BTreeMap;

use data::{Transaction, params};

use super::number_of;
use crate::{CloudEvent, Result};

/// The numbers of `events`, in their order: of those that have none yet, the next of their source, key and type.
///
/// `None` where the event says its number itself, or needs none: without a key nothing comes before or after it; and
/// for another source somebody else may count, too.
pub(crate) async fn assign<'e>(
    tx: &mut Transaction,
    events: impl Iterator<Item = (&'e CloudEvent, Option<i64>)> + Clone,
) -> Result<Vec<Option<i64>>> {
    let owner = tx.owner().to_owned();
    let is_next = |event: &CloudEvent, number: Option<i64>| {
        let is_counted = event.source == owner && event.partitionkey.is_some();
        is_counted && number.is_none() && number_of(event).is_none()
    };
    let mut streams: BTreeMap<[String; 3], i64> = BTreeMap::new();
    for (event, number) in events.clone() {
        if is_next(event, number) {
            *streams.entry(stream(event)).or_default() += 1;
        }
    }
    if !streams.is_empty() {
        streams = reserve(tx, streams).await?;
    }
    Ok(events
        .map(|(event, number)| match streams.get_mut(&stream(event)) {
            Some(next) if is_next(event, number) => {
                let assigned = *next;
                *next += 1;
                Some(assigned)
            }
            _ => number,
        })
        .collect())
}

fn stream(event: &CloudEvent) -> [String; 3] {
    [event.source.as_str(), event.key(), &event.kind].map(str::to_owned)
}

/// Reserves so many numbers of each; the first of them.
async fn reserve(
    tx: &mut Transaction,
    counts: BTreeMap<[String; 3], i64>,
) -> Result<BTreeMap<[String; 3], i64>> {
    let items = tx.engine().items();
    let reserve = format!(
        "INSERT INTO outrigger_sequences (source, key, type, last, used_at)
         SELECT item.value ->> 0, item.value ->> 1, item.value ->> 2, CAST(item.value ->> 3 AS BIGINT), CAST($2 AS BIGINT)
         FROM {items} WHERE TRUE
         ON CONFLICT (source, key, type) DO UPDATE
         SET last = outrigger_sequences.last + excluded.last, used_at = excluded.used_at
         RETURNING source, key, type, last"
    );
    let list: Vec<_> = counts
        .iter()
        .map(|([source, key, kind], count)| serde_json::json!([source, key, kind, count]))
        .collect();
    let list = serde_json::Value::Array(list).to_string();
    let rows = tx.query(&reserve, params![list, env::now()]).await?;
    let mut first = BTreeMap::new();
    for row in rows {
        let stream = [row.get(0)?, row.get(1)?, row.get(2)?];
        let count = counts.get(&stream).copied().unwrap_or_default();
        let last: i64 = row.get(3)?;
        first.insert(stream, last - count + 1);
    }
    Ok(first)
}
