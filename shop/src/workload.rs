//! What users do with the shop: they order, some more than there is, some with a card that is declined; they change
//! their minds, and their addresses; and the shop takes in new stock.
//!
//! A simulation runs this under faults. It asserts nothing: an answer may be an error, or none, while the
//! network is cut. What must be true afterwards is said in [`invariants`](crate::invariants).

use std::time::Duration;

use outrigger::{
    GatewayClient,
    client::Answer,
    env::{self, random},
    futures::future::{join, join_all},
    http::{Method, StatusCode},
};
use serde_json::{Value, json};

/// How much they do.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// Customers that order at the same time.
    customers: u64,
    /// Orders that each of them places, one after the other.
    orders: u64,
    /// The longest that a customer thinks before the next order, in milliseconds.
    thinking_ms_max: u64,
    /// How often the shop takes in more of some product.
    deliveries: u64,
}

/// In a few seconds.
const DAY: Load = Load {
    customers: 4,
    orders: 6,
    thinking_ms_max: 800,
    deliveries: 4,
};
/// A hundred orders in a minute.
const RUSH: Load = Load {
    customers: 10,
    orders: 10,
    thinking_ms_max: 10_500,
    deliveries: 20,
};

/// How often a request is sent until it is answered.
const SENT_MAX: u32 = 4;
/// How long a customer waits before sending it again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a user or product is posted until the shop has it: for longer than anything is away.
const ATTEMPTS: u32 = 400;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(250);
/// The longest that an order is on its way before the address changes, in milliseconds.
const MOVING_MS_MAX: u64 = 200;
/// One of so many orders is cancelled at once.
const CANCELLED_ONE_IN: u64 = 5;

const PRODUCTS: [(&str, u64); 3] = [("pencil", 60), ("paper", 12), ("ink", 6)];
const METHODS: [&str; 6] = [
    "tok_ok",
    "tok_ok",
    "tok_ok",
    "tok_declined",
    "tok_flaky",
    "tok_timeout",
];

/// A few customers, for a few seconds.
pub async fn run(client: GatewayClient) {
    all(client, DAY).await;
}

/// Many customers, for a minute.
pub async fn rush(client: GatewayClient) {
    all(client, RUSH).await;
}

/// Fills the shop, then lets everybody do what they do.
async fn all(client: GatewayClient, load: Load) {
    for (product, stock) in PRODUCTS {
        let body = json!({ "id": product, "name": product, "price": 1.5, "stock": stock });
        insist(&client, "/products", &body).await;
    }
    let customers = (0..load.customers).map(|number| customer(client.clone(), number, load));
    join(join_all(customers), shopkeeper(client.clone(), load)).await;
}

async fn customer(client: GatewayClient, number: u64, load: Load) {
    let id = format!("customer-{number}");
    let email = format!("{id}@example.com");
    insist(
        &client,
        "/users",
        &json!({ "id": id, "name": id, "email": email }),
    )
    .await;
    // One of them with the last order, after which nothing is put right; every other one sooner.
    let moving = load.orders - number * load.orders / load.customers;
    for nth in 1..=load.orders {
        think(load.thinking_ms_max).await;
        let ordering = orders(&client, &id);
        if nth == moving {
            join(ordering, moves(&client, &id)).await;
        } else {
            ordering.await;
        }
    }
}

/// Places an order, and may think better of it.
async fn orders(client: &GatewayClient, id: &str) {
    if random().below(CANCELLED_ONE_IN) == 0 {
        regret(client, &order(id)).await;
    } else {
        settled(client, "/orders", &order(id)).await;
    }
}

/// A new address while an order is being placed, which may have been read before and be written afterwards.
async fn moves(client: &GatewayClient, id: &str) {
    think(MOVING_MS_MAX).await;
    let change = json!({ "name": id, "email": format!("{id}@example.org") });
    let path = format!("/users/{id}");
    let _ = client.request(Method::PUT, &path, Some(&change)).await;
}

/// Places an order and cancels it, before it has ended or shortly after.
async fn regret(client: &GatewayClient, order: &Value) {
    let hurried = client.clone().with_header("prefer", "respond-async");
    let placed = settled(&hurried, "/orders", order).await;
    let Some(placed) = placed.filter(|answer| answer.status == StatusCode::ACCEPTED) else {
        return;
    };
    if let Some(id) = placed.body["id"].as_str() {
        think(100).await;
        settled(client, &format!("/orders/{id}/cancel"), &json!({})).await;
    }
}

/// Takes in more of one product after the other.
async fn shopkeeper(client: GatewayClient, load: Load) {
    for _ in 0..load.deliveries {
        think(load.thinking_ms_max).await;
        let path = format!("/products/{}/restock", product());
        let delivery = json!({ "quantity": 1 + random().below(9) });
        settled(&client, &path, &delivery).await;
    }
}

async fn think(ms_max: u64) {
    env::sleep(Duration::from_millis(random().below(ms_max))).await;
}

/// Posts, and again with the same key while there is no answer that settles it.
async fn settled(client: &GatewayClient, path: &str, body: &Value) -> Option<Answer> {
    let key = env::id().to_string();
    let client = client.clone().with_header("idempotency-key", &key);
    for _ in 0..SENT_MAX {
        match client.post(path, body).await {
            Ok(answer) if is_settled(&answer) => return Some(answer),
            _ => env::sleep(PAUSE).await,
        }
    }
    None
}

/// Whether `answer` is the last word on a request with a key: sent again, it would be the same.
pub fn is_settled(answer: &Answer) -> bool {
    let in_progress = answer.headers.contains_key("retry-after");
    !answer.status.is_server_error() && !in_progress
}

fn order(user: &str) -> Value {
    let items: Vec<_> = (0..=random().below(2))
        .map(|_| json!({ "productId": product(), "quantity": 1 + random().below(4) }))
        .collect();
    let method = METHODS[random().below(METHODS.len() as u64) as usize];
    json!({ "userId": user, "items": items, "paymentMethod": method })
}

fn product() -> &'static str {
    PRODUCTS[random().below(PRODUCTS.len() as u64) as usize].0
}

/// Posts until the shop has it; that it already exists is well too.
pub(crate) async fn insist(client: &GatewayClient, path: &str, body: &Value) {
    for _ in 0..ATTEMPTS {
        match client.post(path, body).await {
            Ok(answer) if answer.status.is_success() || answer.status == StatusCode::CONFLICT => {
                return;
            }
            _ => env::sleep(ATTEMPT_PAUSE).await,
        }
    }
}
