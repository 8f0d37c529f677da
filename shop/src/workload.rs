//! What users do with the shop: they order, some more than there is, some with a card that is declined.
//!
//! A simulation runs this under faults. It asserts nothing: an answer may be an error, or none, while the
//! network is cut. What must be true afterwards is said in [`invariants`](crate::invariants).

use std::time::Duration;

use outrigger::{
    GatewayClient,
    client::Answer,
    env::{self, random},
};
use serde_json::{Value, json};

/// Customers that order at the same time.
const CUSTOMERS: u64 = 4;
/// Orders that each of them places, one after the other.
const ORDERS: u64 = 6;
/// How often an order is sent until it is answered.
const ORDER_ATTEMPTS: u32 = 4;
/// How long a customer waits before sending it again.
const ORDER_PAUSE: Duration = Duration::from_millis(500);
/// The longest that a customer thinks before the next order, in milliseconds.
const THINKING_MS_MAX: u64 = 800;
/// How often a user or product is posted until the shop has it.
const ATTEMPTS: u32 = 100;

const PRODUCTS: [(&str, u64); 3] = [("pencil", 60), ("paper", 12), ("ink", 6)];
const METHODS: [&str; 6] = [
    "tok_ok",
    "tok_ok",
    "tok_ok",
    "tok_declined",
    "tok_flaky",
    "tok_timeout",
];

/// Fills the shop, then lets everybody order.
pub async fn run(client: GatewayClient) {
    for (product, stock) in PRODUCTS {
        let body = json!({ "id": product, "name": product, "price": 1.5, "stock": stock });
        insist(&client, "/products", &body).await;
    }
    let customers = (0..CUSTOMERS).map(|number| customer(client.clone(), number));
    outrigger::futures::future::join_all(customers).await;
}

async fn customer(client: GatewayClient, number: u64) {
    let id = format!("customer-{number}");
    let email = format!("{id}@example.com");
    insist(
        &client,
        "/users",
        &json!({ "id": id, "name": id, "email": email }),
    )
    .await;
    for _ in 0..ORDERS {
        env::sleep(Duration::from_millis(random().below(THINKING_MS_MAX))).await;
        place(&client, &order(&id)).await;
    }
    // A new address, while orders are on their way.
    let change = json!({ "name": id, "email": format!("{id}@example.org") });
    let path = format!("/users/{id}");
    let _ = client
        .request(outrigger::http::Method::PUT, &path, Some(&change))
        .await;
}

/// Orders, and again with the same key while there is no answer that settles it.
async fn place(client: &GatewayClient, order: &Value) {
    let key = env::id().to_string();
    let client = client.clone().with_header("idempotency-key", &key);
    for _ in 0..ORDER_ATTEMPTS {
        match client.post("/orders", order).await {
            Ok(answer) if is_settled(&answer) => return,
            _ => env::sleep(ORDER_PAUSE).await,
        }
    }
}

/// Whether `answer` is the last word on a request with a key: sent again, it would be the same.
pub fn is_settled(answer: &Answer) -> bool {
    let in_progress = answer.headers.contains_key("retry-after");
    !answer.status.is_server_error() && !in_progress
}

fn order(user: &str) -> Value {
    let items: Vec<_> = (0..=random().below(2))
        .map(|_| {
            let (product, _) = PRODUCTS[random().below(PRODUCTS.len() as u64) as usize];
            json!({ "productId": product, "quantity": 1 + random().below(4) })
        })
        .collect();
    let method = METHODS[random().below(METHODS.len() as u64) as usize];
    json!({ "userId": user, "items": items, "paymentMethod": method })
}

/// Posts until the shop has it; that it already exists is well too.
pub(crate) async fn insist(client: &GatewayClient, path: &str, body: &Value) {
    for _ in 0..ATTEMPTS {
        match client.post(path, body).await {
            Ok(answer) if answer.status.is_success() || answer.status.as_u16() == 409 => return,
            _ => env::sleep(Duration::from_millis(100)).await,
        }
    }
}
