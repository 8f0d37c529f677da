//! The tables of products and reservations.

use std::collections::BTreeMap;

use contracts::{Cursor, Money, Page, PageRequest, inventory as view, inventory::Line};
use outrigger::{data, env::Timestamp, prelude::*};

use crate::domain::{Product, State, Stock};

/// The changes that make the tables.
pub const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "inventory",
    include_str!("../migrations/0001_inventory.sql"),
)];

/// Adds a product; a unique violation when its id is taken.
pub async fn insert(tx: &mut Transaction, product: &Product, at: Timestamp) -> data::Result<()> {
    let Product {
        id,
        name,
        price,
        stock,
    } = product;
    tx.execute(
        "INSERT INTO products
             (id, name, price, currency, on_hand, reserved, sold, received, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            id.as_str(),
            name.as_str(),
            price.minor(),
            price.currency(),
            stock.on_hand,
            stock.reserved,
            stock.sold,
            stock.received,
            at
        ],
    )
    .await?;
    Ok(())
}

/// Reads those of the products `ids` that exist, for writing: they stay as read until the transaction ends.
///
/// They are taken in the order of their ids, so that two transactions never wait for each other. An update
/// that changes nothing takes a row in every engine; `FOR UPDATE` is not known to all.
pub async fn take<'a>(
    tx: &mut Transaction,
    ids: impl Iterator<Item = &'a str>,
) -> data::Result<BTreeMap<String, Product>> {
    let sql = "UPDATE products SET on_hand = on_hand WHERE id = $1
               RETURNING id, name, price, currency, on_hand, reserved, sold, received";
    let mut products: BTreeMap<String, Option<Product>> =
        ids.map(|id| (id.to_owned(), None)).collect();
    for (id, found) in &mut products {
        let row = tx.query_one(sql, params![id.as_str()]).await?;
        *found = row.as_ref().map(product).transpose()?;
    }
    Ok(products
        .into_iter()
        .filter_map(|(id, found)| Some((id, found?)))
        .collect())
}

/// Writes the stock of a product that was [taken](take).
pub async fn save_stock(tx: &mut Transaction, product: &Product) -> data::Result<()> {
    let Stock {
        on_hand,
        reserved,
        sold,
        received,
    } = product.stock;
    tx.execute(
        "UPDATE products SET on_hand = $2, reserved = $3, sold = $4, received = $5 WHERE id = $1",
        params![product.id.as_str(), on_hand, reserved, sold, received],
    )
    .await?;
    Ok(())
}

/// What became of the reservation of an order; `None` when it never asked.
pub async fn reservation(tx: &mut Transaction, order_id: &str) -> data::Result<Option<State>> {
    let sql = "SELECT state FROM reservations WHERE order_id = $1";
    let row = tx.query_one(sql, params![order_id]).await?;
    row.map(|row| row.get("state")).transpose()
}

/// Writes down what becomes of the reservation of an order.
pub async fn set_reservation(
    tx: &mut Transaction,
    order_id: &str,
    state: State,
) -> data::Result<()> {
    tx.execute(
        "INSERT INTO reservations (order_id, state) VALUES ($1, $2)
         ON CONFLICT (order_id) DO UPDATE SET state = excluded.state",
        params![order_id, state],
    )
    .await?;
    Ok(())
}

/// Adds a line to the reservation of an order.
pub async fn insert_item(tx: &mut Transaction, order_id: &str, line: &Line) -> data::Result<()> {
    tx.execute(
        "INSERT INTO reservation_items (order_id, product_id, quantity) VALUES ($1, $2, $3)",
        params![order_id, line.product_id.as_str(), i64::from(line.quantity)],
    )
    .await?;
    Ok(())
}

/// How many of each product are reserved for an order.
pub async fn items(tx: &mut Transaction, order_id: &str) -> data::Result<BTreeMap<String, u32>> {
    let sql = "SELECT product_id, quantity FROM reservation_items WHERE order_id = $1";
    let rows = tx.query(sql, params![order_id]).await?;
    rows.iter()
        .map(|row| Ok((row.get("product_id")?, row.get("quantity")?)))
        .collect()
}

/// Reads a product as clients see it.
pub async fn find(db: &Database, id: &str) -> data::Result<Option<view::Product>> {
    let sql = "SELECT id, name, price, currency, on_hand, created_at FROM products WHERE id = $1";
    db.query_one(sql, params![id])
        .await?
        .as_ref()
        .map(shown)
        .transpose()
}

/// Reads a page of products as clients see them.
pub async fn list(db: &Database, page: &PageRequest) -> data::Result<Page<view::Product>> {
    let sql = "SELECT id, name, price, currency, on_hand, created_at FROM products
               WHERE (created_at, id) < ($1, $2)
               ORDER BY created_at DESC, id DESC LIMIT $3";
    let after = page.after();
    let rows = db
        .query(sql, params![after.at_ms, after.id, page.fetch()])
        .await?;
    let products = rows.iter().map(shown).collect::<data::Result<Vec<_>>>()?;
    Ok(page.page(products, |product| {
        Cursor::after(product.created_at, &product.id)
    }))
}

fn product(row: &Row) -> data::Result<Product> {
    Ok(Product {
        id: row.get("id")?,
        name: row.get("name")?,
        price: price(row)?,
        stock: Stock {
            on_hand: row.get("on_hand")?,
            reserved: row.get("reserved")?,
            sold: row.get("sold")?,
            received: row.get("received")?,
        },
    })
}

fn shown(row: &Row) -> data::Result<view::Product> {
    let price = price(row)?;
    Ok(view::Product {
        id: row.get("id")?,
        name: row.get("name")?,
        price: price.decimal(),
        currency: price.currency(),
        stock: row.get("on_hand")?,
        created_at: row.get("created_at")?,
    })
}

fn price(row: &Row) -> data::Result<Money> {
    Ok(Money::new(row.get("price")?, row.get("currency")?))
}
