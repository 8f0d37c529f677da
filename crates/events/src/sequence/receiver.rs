//! Looking whether a number is the next.

use data::{Statement, Transaction, params};

use super::{Gap, number_of};
use crate::{CloudEvent, Result};

/// Notes that `group` has an event, and returns what is missing before it. Belongs to the transaction of the inbox;
/// noting it again does nothing.
pub(crate) async fn note(
    tx: &mut Transaction,
    group: &str,
    event: &CloudEvent,
) -> Result<Option<Gap>> {
    let Some(received) = Received::of(group, event) else {
        return Ok(None);
    };
    let rows = tx.execute_all(vec![received.statement()]).await?;
    received.judge(tx, rows == [1]).await
}

/// A numbered event that a group has received.
pub(crate) struct Received<'a> {
    group: &'a str,
    event: &'a CloudEvent,
    number: i64,
}

/// The row of a key, by the first four parameters.
macro_rules! of_key {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " WHERE consumer_group = $1 AND source = $2 AND key = $3 AND type = $4",
            $after
        )
    };
}

impl<'a> Received<'a> {
    /// `None` where the event has no number.
    pub(crate) fn of(group: &'a str, event: &'a CloudEvent) -> Option<Self> {
        event.partitionkey.as_ref()?;
        let number = number_of(event)?;
        Some(Self {
            group,
            event,
            number,
        })
    }

    /// `$1` to `$4`.
    fn names(&self) -> [&str; 4] {
        let event = self.event;
        [self.group, &event.source, event.key(), &event.kind]
    }

    /// Notes it in the two cases of nearly every event, the next one and the first of all: then it changes one row.
    pub(crate) fn statement(&self) -> Statement {
        let note =
            "INSERT INTO outrigger_received (consumer_group, source, key, type, last, seen_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (consumer_group, source, key, type) DO UPDATE SET last = $5, seen_at = $6
             WHERE outrigger_received.last = $5 - 1";
        let [group, source, key, kind] = self.names();
        Statement::new(
            note,
            params![group, source, key, kind, self.number, env::now()],
        )
    }

    /// What is missing before it, where the [statement](Self::statement) has `noted` it or not.
    pub(crate) async fn judge(self, tx: &mut Transaction, noted: bool) -> Result<Option<Gap>> {
        if noted {
            return Ok(None);
        }
        let look = of_key!("SELECT last, seen_at FROM outrigger_received", "");
        let [group, source, key, kind] = self.names();
        let row = tx
            .query_one(look, params![group, source, key, kind])
            .await?;
        let Some(row) = row else { return Ok(None) };
        let last: i64 = row.get(0)?;
        let seen_at = row.get(1)?;
        if self.number > last {
            self.goes_on(tx).await?;
            return self.misses(tx, last + 1).await.map(Some);
        }
        if self.number == 1 && self.event.time.is_some_and(|time| time > seen_at) {
            // A new beginning.
            self.goes_on(tx).await?;
        } else if self.number < last {
            self.comes_late(tx).await?;
        }
        Ok(None)
    }

    async fn goes_on(&self, tx: &mut Transaction) -> Result<()> {
        let update = of_key!("UPDATE outrigger_received SET last = $5, seen_at = $6", "");
        let [group, source, key, kind] = self.names();
        let params = params![group, source, key, kind, self.number, env::now()];
        tx.execute(update, params).await?;
        Ok(())
    }

    async fn misses(&self, tx: &mut Transaction, first: i64) -> Result<Gap> {
        let last = self.number - 1;
        self.record(tx, first, last).await?;
        let [group, source, key, kind] = self.names().map(str::to_owned);
        Ok(Gap {
            group,
            source,
            key,
            kind,
            first,
            last,
            found_at: env::now(),
        })
    }

    async fn record(&self, tx: &mut Transaction, first: i64, last: i64) -> Result<()> {
        let insert =
            "INSERT INTO outrigger_gaps (consumer_group, source, key, type, first, last, found_at)
                      VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
        let [group, source, key, kind] = self.names();
        let params = params![group, source, key, kind, first, last, env::now()];
        tx.execute(insert, params).await?;
        Ok(())
    }

    /// If it was missing, it is no more: what is left of the gap are the parts on both sides of it.
    async fn comes_late(&self, tx: &mut Transaction) -> Result<()> {
        let close = of_key!(
            "DELETE FROM outrigger_gaps",
            " AND first <= $5 AND last >= $5 RETURNING first, last"
        );
        let [group, source, key, kind] = self.names();
        let params = params![group, source, key, kind, self.number];
        if let Some(gap) = tx.query_one(close, params).await? {
            let (first, last) = (gap.get(0)?, gap.get(1)?);
            if first < self.number {
                self.record(tx, first, self.number - 1).await?;
            }
            if last > self.number {
                self.record(tx, self.number + 1, last).await?;
            }
        }
        Ok(())
    }
}
