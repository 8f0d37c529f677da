//! The tables of orders, and of what is known here of those who order.

use contracts::{
    Money,
    inventory::Line,
    order::{CreateOrder, Customer, Item, Order, OrderStatus},
};
use outrigger::{data, prelude::*};

/// The changes that make the tables.
pub const MIGRATIONS: &[Migration] = &[
    Migration::new(1, "orders", include_str!("../migrations/0001_orders.sql")),
    Migration::new(
        2,
        "the history belongs to its projection",
        "DROP TABLE order_history",
    ),
];

/// The most pending orders that one notice of low stock is passed on to.
///
/// Orders are pending for moments, so more than this at once have no meaning for a customer.
const NOTICES_MAX: i64 = 1000;

/// Writes down a pending order.
pub async fn insert(tx: &mut Transaction, order: &CreateOrder) -> data::Result<()> {
    tx.execute(
        "INSERT INTO orders (id, user_id, status, total, currency, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        params![
            order.order_id.as_str(),
            order.customer.user_id.as_str(),
            OrderStatus::Pending,
            order.total.minor(),
            order.total.currency(),
            order.placed_at
        ],
    )
    .await?;
    for (position, line) in (0_i64..).zip(&order.lines) {
        insert_item(tx, &order.order_id, position, line).await?;
    }
    Ok(())
}

async fn insert_item(
    tx: &mut Transaction,
    order_id: &str,
    position: i64,
    line: &Line,
) -> data::Result<()> {
    let Line {
        product_id,
        quantity,
        price,
    } = line;
    tx.execute(
        "INSERT INTO order_items (order_id, position, product_id, quantity, price)
         VALUES ($1, $2, $3, $4, $5)",
        params![
            order_id,
            position,
            product_id.as_str(),
            i64::from(*quantity),
            price.minor()
        ],
    )
    .await?;
    Ok(())
}

/// Writes down how far an order is.
pub async fn set_status(
    tx: &mut Transaction,
    order_id: &str,
    status: OrderStatus,
) -> data::Result<()> {
    let sql = "UPDATE orders SET status = $2 WHERE id = $1";
    tx.execute(sql, params![order_id, status]).await?;
    Ok(())
}

/// Reads an order with its items.
pub async fn find(db: &Database, order_id: &str) -> data::Result<Option<Order>> {
    let sql = "SELECT user_id, status, total, currency, created_at FROM orders WHERE id = $1";
    let Some(row) = db.query_one(sql, params![order_id]).await? else {
        return Ok(None);
    };
    let total = Money::new(row.get("total")?, row.get("currency")?);
    let sql = "SELECT product_id, quantity, price FROM order_items
               WHERE order_id = $1 ORDER BY position";
    let items = db.query(sql, params![order_id]).await?;
    let item = |row: &Row| {
        Ok(Item {
            product_id: row.get("product_id")?,
            quantity: row.get("quantity")?,
            price: Money::new(row.get("price")?, total.currency()).decimal(),
        })
    };
    Ok(Some(Order {
        id: order_id.to_owned(),
        user_id: row.get("user_id")?,
        items: items.iter().map(item).collect::<data::Result<_>>()?,
        status: row.get("status")?,
        reason: None,
        total: total.decimal(),
        currency: total.currency(),
        created_at: row.get("created_at")?,
    }))
}

/// Writes down what is known of a user, unless something newer is.
pub async fn know(tx: &mut Transaction, customer: &Customer, version: i64) -> data::Result<()> {
    tx.execute(
        "INSERT INTO customers (user_id, email, name, version) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id) DO UPDATE
         SET email = excluded.email, name = excluded.name, version = excluded.version
         WHERE excluded.version > customers.version",
        params![
            customer.user_id.as_str(),
            customer.email.as_str(),
            customer.name.as_str(),
            version
        ],
    )
    .await?;
    Ok(())
}

/// Whom an order is for, as they are known now, and its total; `None` for an order that is not there.
pub async fn parties(
    tx: &mut Transaction,
    order_id: &str,
) -> data::Result<Option<(Customer, Money)>> {
    let sql = "SELECT c.user_id, c.email, c.name, o.total, o.currency
               FROM orders o JOIN customers c ON c.user_id = o.user_id WHERE o.id = $1";
    let Some(row) = tx.query_one(sql, params![order_id]).await? else {
        return Ok(None);
    };
    let total = Money::new(row.get("total")?, row.get("currency")?);
    Ok(Some((customer(&row)?, total)))
}

/// The pending orders of a product, and whom they are for.
pub async fn pending_of(
    tx: &mut Transaction,
    product_id: &str,
) -> data::Result<Vec<(String, Customer)>> {
    let sql = "SELECT o.id, c.user_id, c.email, c.name
               FROM orders o
               JOIN order_items i ON i.order_id = o.id
               JOIN customers c ON c.user_id = o.user_id
               WHERE o.status = 'PENDING' AND i.product_id = $1
               ORDER BY o.id LIMIT $2";
    let rows = tx.query(sql, params![product_id, NOTICES_MAX]).await?;
    rows.iter()
        .map(|row| Ok((row.get("id")?, customer(row)?)))
        .collect()
}

fn customer(row: &Row) -> data::Result<Customer> {
    Ok(Customer {
        user_id: row.get("user_id")?,
        email: row.get("email")?,
        name: row.get("name")?,
    })
}
