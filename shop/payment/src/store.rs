//! The books: payments, refunds, and orders that may not be charged any more.

use contracts::{Money, payment::PaymentStatus};
use outrigger::{data, env::Timestamp, prelude::*};

use crate::domain::Payment;

/// The changes that make the tables.
pub const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "payments",
    include_str!("../migrations/0001_payments.sql"),
)];

const OF_ORDER: &str = "SELECT id, order_id, user_id, amount, currency, status, refusal_code,
                            refusal_reason, created_at
                        FROM payments WHERE order_id = $1";

/// Writes down a payment.
pub async fn insert(tx: &mut Transaction, payment: &Payment) -> data::Result<()> {
    let (code, reason) = payment
        .refusal
        .clone()
        .map(|why| (why.code, why.detail))
        .unzip();
    tx.execute(
        "INSERT INTO payments
             (id, order_id, user_id, amount, currency, status, refusal_code, refusal_reason, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            payment.id.as_str(),
            payment.order_id.as_str(),
            payment.user_id.as_str(),
            payment.amount.minor(),
            payment.amount.currency(),
            payment.status,
            code,
            reason,
            payment.created_at
        ],
    )
    .await?;
    Ok(())
}

/// Writes down that a payment was given back whole.
pub async fn refund(tx: &mut Transaction, payment: &Payment, at: Timestamp) -> data::Result<()> {
    tx.execute(
        "UPDATE payments SET status = $2 WHERE id = $1",
        params![payment.id.as_str(), PaymentStatus::Refunded],
    )
    .await?;
    tx.execute(
        "INSERT INTO refunds (payment_id, amount, created_at) VALUES ($1, $2, $3)",
        params![payment.id.as_str(), payment.amount.minor(), at],
    )
    .await?;
    Ok(())
}

/// Writes down that an order may not be charged any more.
pub async fn withdraw(tx: &mut Transaction, order_id: &str, at: Timestamp) -> data::Result<()> {
    tx.execute(
        "INSERT INTO withdrawals (order_id, created_at) VALUES ($1, $2)
         ON CONFLICT (order_id) DO NOTHING",
        params![order_id, at],
    )
    .await?;
    Ok(())
}

/// What the books say of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Nothing yet.
    Open,
    /// It has its payment, however that ended.
    Settled(Payment),
    /// It was cancelled before it was charged.
    Withdrawn,
}

/// Reads what the books say of an order, for writing: it stays so until the transaction ends.
pub async fn take(tx: &mut Transaction, order_id: &str) -> data::Result<Entry> {
    if let Some(row) = tx.query_one(OF_ORDER, params![order_id]).await? {
        return payment(&row).map(Entry::Settled);
    }
    let withdrawn = tx.query_one(WITHDRAWN, params![order_id]).await?;
    Ok(if withdrawn.is_some() {
        Entry::Withdrawn
    } else {
        Entry::Open
    })
}

/// Reads what the books say of an order.
pub async fn find(db: &Database, order_id: &str) -> data::Result<Entry> {
    if let Some(row) = db.query_one(OF_ORDER, params![order_id]).await? {
        return payment(&row).map(Entry::Settled);
    }
    let withdrawn = db.query_one(WITHDRAWN, params![order_id]).await?;
    Ok(if withdrawn.is_some() {
        Entry::Withdrawn
    } else {
        Entry::Open
    })
}

const WITHDRAWN: &str = "SELECT order_id FROM withdrawals WHERE order_id = $1";

fn payment(row: &Row) -> data::Result<Payment> {
    let code: Option<String> = row.get("refusal_code")?;
    let reason: Option<String> = row.get("refusal_reason")?;
    Ok(Payment {
        id: row.get("id")?,
        order_id: row.get("order_id")?,
        user_id: row.get("user_id")?,
        amount: Money::new(row.get("amount")?, row.get("currency")?),
        status: row.get("status")?,
        refusal: code
            .zip(reason)
            .map(|(code, reason)| Failure::new(code, reason)),
        created_at: row.get("created_at")?,
    })
}
