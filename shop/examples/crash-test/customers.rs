//! Those who order while things break: each order has a key, and is sent with it until the shop has answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use outrigger::{
    GatewayClient,
    env::{self, BoxError},
    futures::future::join_all,
};
use serde_json::{Value, json};
use shop::workload::is_settled;

/// So many order at the same time.
const CUSTOMERS: u64 = 16;
/// More than the customers can ever buy.
const STOCK: u64 = 1_000_000;
const PRODUCTS: [&str; 3] = ["pencil", "paper", "ink"];
/// How long a customer waits before sending an order again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long it may take until orders are answered again.
const FLOW_LIMIT: Duration = Duration::from_secs(20);

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

/// All of them, and what the shop has told each.
pub(crate) struct Customers(Vec<Customer>);

/// Counts the orders that were answered.
#[derive(Clone, Default)]
pub(crate) struct Answers(Arc<AtomicU64>);

impl Answers {
    /// Waits until some more have come, but not for ever: while the shop is away there are none.
    pub(crate) async fn flow(&self) {
        let seen = self.0.load(Ordering::Relaxed);
        let flowing = async {
            while self.0.load(Ordering::Relaxed) < seen + CUSTOMERS {
                env::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = env::timeout(FLOW_LIMIT, flowing).await;
    }
}

impl Customers {
    pub(crate) fn new(answers: &Answers) -> Self {
        let customer = |number| Customer {
            number,
            asked: 0,
            unanswered: None,
            promised: Vec::new(),
            answers: answers.clone(),
        };
        Self((0..CUSTOMERS).map(customer).collect())
    }

    /// Order, as fast as the shop answers, until it is gone.
    pub(crate) async fn order_until_the_end(self, client: GatewayClient) -> Self {
        let orders = |customer: Customer| customer.order_until_the_end(client.clone());
        Self(join_all(self.0.into_iter().map(orders)).await)
    }

    /// Send once more what the end of the shop left without an answer, until it is gone again.
    pub(crate) async fn hear(self, client: GatewayClient) -> Self {
        let hears = |customer: Customer| customer.hear(client.clone());
        Self(join_all(self.0.into_iter().map(hears)).await)
    }

    /// How many orders they asked for.
    pub(crate) fn asked(&self) -> u64 {
        self.0.iter().map(|customer| customer.asked).sum()
    }

    /// How many of these still have no answer.
    pub(crate) fn unanswered(&self) -> usize {
        let waiting = self.0.iter().filter(|it| it.unanswered.is_some());
        waiting.count()
    }

    /// The ids of the orders that the shop said it has.
    pub(crate) fn promised(&self) -> impl Iterator<Item = &str> {
        let promised = self.0.iter().flat_map(|customer| &customer.promised);
        promised.map(String::as_str)
    }
}

struct Customer {
    number: u64,
    asked: u64,
    unanswered: Option<Request>,
    promised: Vec<String>,
    answers: Answers,
}

struct Request {
    key: String,
    order: Value,
}

impl Customer {
    async fn order_until_the_end(mut self, client: GatewayClient) -> Self {
        loop {
            if self.unanswered.is_none() {
                self.asked += 1;
                self.unanswered = Some(Request {
                    key: env::id().to_string(),
                    order: an_order(self.number, self.asked),
                });
            }
            self = self.hear(client.clone()).await;
            if self.unanswered.is_some() {
                return self;
            }
        }
    }

    /// Sends the order that has no answer until it has one, or nobody answers.
    async fn hear(mut self, client: GatewayClient) -> Self {
        let Some(Request { key, order }) = &self.unanswered else {
            return self;
        };
        let client = client.with_header("idempotency-key", key);
        while let Ok(answer) = client.post("/orders", order).await {
            if is_settled(&answer) {
                let id = answer.body["id"].as_str();
                self.promised.extend(id.map(str::to_owned));
                self.unanswered = None;
                self.answers.0.fetch_add(1, Ordering::Relaxed);
                return self;
            }
            env::sleep(PAUSE).await;
        }
        self
    }
}

/// Mostly good orders; some whose payment is declined, or takes a second attempt.
fn an_order(customer: u64, asked: u64) -> Value {
    let product = PRODUCTS[(asked % 3) as usize];
    let payment = match (customer + asked) % 7 {
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
