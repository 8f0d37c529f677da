//! A short story that ends the same whatever crashes, and where the business is at its end.
//!
//! The simulation plays it once for each crash point: a kill just before and just after each commit and each
//! message. Its customers insist until they have what they came for, and take care not to get it twice.

use std::{collections::BTreeMap, time::Duration};

use outrigger::{GatewayClient, client::Answer, env, http::Method, prelude::*};
use serde_json::{Value, json};

use crate::workload::insist;

/// Each customer, what they order, how many, and how they pay.
const ORDERS: [(&str, &str, u64, &str); 3] = [
    ("ada", "pencil", 2, "tok_ok"),
    ("grace", "ink", 1, "tok_declined"),
    ("jean", "pencil", 1, "tok_ok"),
];
/// How often a customer looks whether the order is there before placing it again: an order that was accepted is there
/// by then, however late its service starts again.
const LOOKS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(250);

/// Three customers order, one after the other; the last one moves.
pub async fn play(client: GatewayClient) {
    for (product, stock) in [("pencil", 10), ("ink", 1)] {
        let body = json!({ "id": product, "name": product, "price": 2, "stock": stock });
        insist(&client, "/products", &body).await;
    }
    for (user, product, quantity, method) in ORDERS {
        let email = format!("{user}@example.com");
        let body = json!({ "id": user, "name": user, "email": email });
        insist(&client, "/users", &body).await;
        let items = json!([{ "productId": product, "quantity": quantity }]);
        let order = json!({ "userId": user, "items": items, "paymentMethod": method });
        order_once(&client, user, &order).await;
    }
    let moved = json!({ "name": "jean", "email": "jean@example.org" });
    while !is_well(
        client
            .request(Method::PUT, "/users/jean", Some(&moved))
            .await,
    ) {
        env::sleep(PAUSE).await;
    }
}

/// Places the order of `user`, who has no other: who got no answer looks before ordering again.
async fn order_once(client: &GatewayClient, user: &str, order: &Value) {
    let path = format!("/order-history?userId={user}");
    loop {
        let _ = client.post("/orders", order).await;
        for _ in 0..LOOKS {
            let answer = client.get(&path).await;
            if answer.is_ok_and(|answer| is_listed(&answer.body)) {
                return;
            }
            env::sleep(PAUSE).await;
        }
    }
}

fn is_listed(page: &Value) -> bool {
    page["items"]
        .as_array()
        .is_some_and(|items| !items.is_empty())
}

fn is_well<E>(answer: Result<Answer, E>) -> bool {
    answer.is_ok_and(|answer| answer.status.is_success())
}

/// The tables that are the business, without ids that are drawn and without times.
const TABLES: [(&str, &str, &str); 8] = [
    (
        "users",
        contracts::user::SERVICE,
        "SELECT id || ' ' || name || ' ' || email FROM users ORDER BY 1",
    ),
    (
        "stock",
        contracts::inventory::SERVICE,
        "SELECT id || ' ' || on_hand || ' ' || reserved || ' ' || sold FROM products ORDER BY 1",
    ),
    (
        "reservations",
        contracts::inventory::SERVICE,
        "SELECT state || ' ' || count(*) FROM reservations GROUP BY state ORDER BY 1",
    ),
    (
        "orders",
        contracts::order::SERVICE,
        "SELECT o.user_id || ' ' || o.status || ' ' || o.total || ' ' || i.product_id || ' ' || i.quantity
         FROM orders o JOIN order_items i ON i.order_id = o.id ORDER BY 1",
    ),
    (
        "history",
        contracts::order::SERVICE,
        "SELECT user_id || ' ' || status || ' ' || total FROM order_history ORDER BY 1",
    ),
    (
        "payments",
        contracts::payment::SERVICE,
        "SELECT user_id || ' ' || status || ' ' || amount FROM payments ORDER BY 1",
    ),
    (
        "refunds",
        contracts::payment::SERVICE,
        "SELECT 'of ' || amount FROM refunds ORDER BY 1",
    ),
    (
        "notices",
        contracts::notification::SERVICE,
        "SELECT user_id || ' ' || about || ' ' || email FROM notifications ORDER BY 1",
    ),
];

/// Where the business is.
pub async fn state(view: Inspection) -> Result<BTreeMap<String, Value>, String> {
    let mut state = BTreeMap::new();
    for (name, service, sql) in TABLES {
        let rows = view.query(service, sql, &[]).await?;
        let lines = rows.iter().map(|row| row.get::<String>(0));
        let lines: Vec<_> = lines
            .collect::<Result<_, _>>()
            .map_err(|error: outrigger::data::Error| error.to_string())?;
        state.insert(name.to_owned(), json!(lines));
    }
    Ok(state)
}
