//! What each user has ordered: a read model that follows the events of the orders.

use contracts::{
    Cursor, Money, Page, PageRequest,
    order::{HistoryEntry, OrderStatus},
};
use outrigger::{
    data,
    env::Timestamp,
    eventsourcing::{Projection, Recorded, projection::Table},
    futures::future::BoxFuture,
    prelude::*,
};

use crate::domain::{Order, OrderEvent};

/// Keeps the table that is read as `order_history`.
///
/// To build it anew (another column, another meaning), raise the version and rename the table here: the old one is
/// read until the new one has caught up.
///
/// Names and addresses are not in the events: they are read from `customers`, which knows them as they are now.
pub struct OrderHistory;

const TABLE: Table = Table::new(
    "order_history",
    &[
        "CREATE TABLE order_history_v2 (
             order_id   TEXT   NOT NULL PRIMARY KEY,
             user_id    TEXT   NOT NULL,
             status     TEXT   NOT NULL,
             total      BIGINT NOT NULL,
             currency   TEXT   NOT NULL,
             created_at BIGINT NOT NULL,
             updated_at BIGINT NOT NULL
         )",
        "CREATE INDEX order_history_v2_newest ON order_history_v2 (user_id, created_at, order_id)",
    ],
);

impl Projection for OrderHistory {
    fn name(&self) -> &str {
        "order-history"
    }

    fn version(&self) -> u32 {
        2
    }

    fn tables(&self) -> &[Table] {
        &[TABLE]
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut Transaction,
        event: &'a Recorded,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let Some(what) = event.read::<Order>()? else {
                return Ok(());
            };
            let order_id = event.id();
            match what {
                OrderEvent::Created {
                    user_id,
                    total,
                    placed_at,
                    ..
                } => {
                    insert(tx, order_id, &user_id, total, placed_at).await?;
                }
                OrderEvent::Confirmed { at } => {
                    set_status(tx, order_id, OrderStatus::Confirmed, at).await?;
                }
                OrderEvent::Cancelled { at } => {
                    set_status(tx, order_id, OrderStatus::Cancelled, at).await?;
                }
            }
            Ok(())
        })
    }
}

async fn insert(
    tx: &mut Transaction,
    order_id: &str,
    user_id: &str,
    total: Money,
    placed_at: Timestamp,
) -> data::Result<()> {
    tx.execute(
        "INSERT INTO order_history_v2
             (order_id, user_id, status, total, currency, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6)",
        params![
            order_id,
            user_id,
            OrderStatus::Pending,
            total.minor(),
            total.currency(),
            placed_at
        ],
    )
    .await?;
    Ok(())
}

/// An order that was cancelled before it was created has no entry, and gets none.
async fn set_status(
    tx: &mut Transaction,
    order_id: &str,
    status: OrderStatus,
    at: Timestamp,
) -> data::Result<()> {
    let sql = "UPDATE order_history_v2 SET status = $2, updated_at = $3 WHERE order_id = $1";
    tx.execute(sql, params![order_id, status, at]).await?;
    Ok(())
}

/// Reads a page of what a user has ordered.
pub async fn list(
    db: &Database,
    user_id: &str,
    page: &PageRequest,
) -> data::Result<Page<HistoryEntry>> {
    let sql = "SELECT h.order_id, h.user_id, c.name, c.email, h.status, h.total, h.currency,
                   h.created_at, h.updated_at
               FROM order_history h JOIN customers c ON c.user_id = h.user_id
               WHERE h.user_id = $1 AND (h.created_at, h.order_id) < ($2, $3)
               ORDER BY h.created_at DESC, h.order_id DESC LIMIT $4";
    let after = page.after();
    let rows = db
        .query(sql, params![user_id, after.at_ms, after.id, page.fetch()])
        .await?;
    let entries = rows.iter().map(entry).collect::<data::Result<Vec<_>>>()?;
    Ok(page.page(entries, |entry| {
        Cursor::after(entry.created_at, &entry.order_id)
    }))
}

fn entry(row: &Row) -> data::Result<HistoryEntry> {
    let total = Money::new(row.get("total")?, row.get("currency")?);
    Ok(HistoryEntry {
        order_id: row.get("order_id")?,
        user_id: row.get("user_id")?,
        user_name: row.get("name")?,
        user_email: row.get("email")?,
        status: row.get("status")?,
        total: total.decimal(),
        currency: total.currency(),
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}
