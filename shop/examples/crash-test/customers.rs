//! Those who order while things break.

use outrigger::{GatewayClient, env::BoxError};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// So many order at the same time.
const CUSTOMERS: u64 = 16;
/// More than the customers can ever buy.
const STOCK: u64 = 1_000_000;
const PRODUCTS: [&str; 3] = ["pencil", "paper", "ink"];

pub(crate) async fn stock_up(client: &GatewayClient) -> Result<(), BoxError> {
    for product in PRODUCTS {
        let body = json!({ "id": product, "name": product, "price": 1.5, "stock": STOCK });
        let answer = client.post("/products", &body).await?;
        if !answer.status.is_success() {
            return Err(format!("POST /products got {}: {}", answer.status, answer.body).into());
        }
    }
    Ok(())
}

/// Order, as fast as the shop answers, until it is gone; gives the number of orders asked for.
pub(crate) async fn order_until_the_end(client: GatewayClient, round: u64) -> u64 {
    let mut customers = JoinSet::new();
    for customer in 0..CUSTOMERS {
        let client = client.clone();
        customers.spawn(async move {
            let mut asked = 0;
            loop {
                asked += 1;
                let order = an_order(round, customer, asked);
                if client.post("/orders", &order).await.is_err() {
                    return asked;
                }
            }
        });
    }
    customers.join_all().await.iter().sum()
}

/// Mostly good orders; some whose payment is declined, or takes a second attempt.
fn an_order(round: u64, customer: u64, asked: u64) -> Value {
    let product = PRODUCTS[(asked % 3) as usize];
    let payment = match (round + customer + asked) % 7 {
        0 => "tok_declined",
        1 => "tok_flaky",
        _ => "tok_ok",
    };
    let quantity = if asked.is_multiple_of(11) {
        900
    } else {
        1 + customer % 3
    };
    let user = if customer.is_multiple_of(2) {
        "ada"
    } else {
        "grace"
    };
    json!({
        "userId": user,
        "items": [{ "productId": product, "quantity": quantity }],
        "paymentMethod": payment,
    })
}
