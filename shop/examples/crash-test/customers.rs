//! Those who order while things break: each order has a key, and is sent with it until the shop has answered.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use outrigger::{
    GatewayClient,
    env::{self, BoxError, Instant},
    futures::future::join_all,
};
use serde_json::{Value, json};
use shop::workload::is_settled;

/// So many order at the same time.
const CUSTOMERS: u64 = 16;
/// More than the customers can ever buy.
const STOCK: u64 = 1_000_000;
const USERS: [&str; 2] = ["ada", "grace"];
const PRODUCTS: [&str; 3] = ["pencil", "paper", "ink"];
/// How long a customer waits before sending an order again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long it may take until orders are answered again.
const FLOW_LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked whether answers have come.
const LOOK: Duration = Duration::from_millis(10);

/// Fills the shop with those who order and what they can buy, as soon as it answers.
pub(crate) async fn stock_up(client: &GatewayClient) -> Result<(), BoxError> {
    let users = USERS.map(|id| {
        let email = format!("{id}@example.com");
        ("/users", json!({ "id": id, "name": id, "email": email }))
    });
    let products = PRODUCTS.map(|id| {
        let product = json!({ "id": id, "name": id, "price": 1.5, "stock": STOCK });
        ("/products", product)
    });
    let deadline = env::instant() + FLOW_LIMIT;
    for (path, body) in users.into_iter().chain(products) {
        loop {
            let answer = client.post(path, &body).await;
            match &answer {
                // It is there already in the shop's demo.
                Ok(answer) if answer.status.is_success() || answer.status.as_u16() == 409 => break,
                _ if env::instant() < deadline => env::sleep(PAUSE).await,
                _ => return Err(format!("POST {path} got {answer:?}").into()),
            }
        }
    }
    Ok(())
}

/// What goes on between the customers and the shop. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Traffic(Arc<Log>);

#[derive(Default)]
struct Log {
    stopped: AtomicBool,
    answers: Mutex<Vec<Answered>>,
}

/// An order was sent and answered.
struct Answered {
    sent: Instant,
    came: Instant,
}

impl Traffic {
    /// Has the customers end, whether or not they were answered.
    pub(crate) fn stop(&self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }

    fn resume(&self) {
        self.0.stopped.store(false, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Relaxed)
    }

    fn answers(&self) -> MutexGuard<'_, Vec<Answered>> {
        self.0
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, sent: Instant) {
        let came = env::instant();
        self.answers().push(Answered { sent, came });
    }

    /// Waits until as many answers more have come as there are customers, but not for ever: while the shop is away
    /// there are none.
    pub(crate) async fn flow(&self) {
        let enough = self.answers().len() + CUSTOMERS as usize;
        let flowing = async {
            while self.answers().len() < enough {
                env::sleep(LOOK).await;
            }
        };
        let _ = env::timeout(FLOW_LIMIT, flowing).await;
    }

    /// Waits until an order is answered that was sent after `since`; how long after it that is. `None` when it takes
    /// longer than `limit`.
    pub(crate) async fn recovery(&self, since: Instant, limit: Duration) -> Option<Duration> {
        let first = async {
            loop {
                if let Some(came) = self.first_sent_after(since) {
                    return came - since;
                }
                env::sleep(LOOK).await;
            }
        };
        env::timeout(limit, first).await.ok()
    }

    /// When the first of the orders was answered that were sent after `since`.
    fn first_sent_after(&self, since: Instant) -> Option<Instant> {
        let answers = self.answers();
        let after = answers.iter().filter(|it| it.sent >= since);
        after.map(|it| it.came).min()
    }

    /// In how many of the `seconds` whole seconds after `start` an order was answered.
    pub(crate) fn seconds_with_answers(&self, start: Instant, seconds: u64) -> usize {
        let answers = self.answers();
        let seen = answers
            .iter()
            .filter_map(|it| Some(it.came.checked_duration_since(start)?.as_secs()))
            .filter(|second| *second < seconds);
        seen.collect::<BTreeSet<_>>().len()
    }
}

/// All of them, and what the shop has told each.
pub(crate) struct Customers(Vec<Customer>);

impl Customers {
    pub(crate) fn new(traffic: &Traffic) -> Self {
        let customer = |number| Customer {
            number,
            asked: 0,
            unanswered: None,
            promised: Vec::new(),
            traffic: traffic.clone(),
        };
        Self((0..CUSTOMERS).map(customer).collect())
    }

    /// Order, as fast as the shop answers, until the traffic is stopped.
    pub(crate) async fn order(self, client: GatewayClient) -> Self {
        let orders = |customer: Customer| {
            customer.traffic.resume();
            customer.order(client.clone())
        };
        Self(join_all(self.0.into_iter().map(orders)).await)
    }

    /// Send what has no answer until it has one, at most for `limit`.
    pub(crate) async fn hear(self, client: GatewayClient, limit: Duration) -> Self {
        let mut traffic = None;
        let hears = |customer: Customer| {
            customer.traffic.resume();
            traffic = Some(customer.traffic.clone());
            customer.hear(client.clone())
        };
        let hearing = join_all(self.0.into_iter().map(hears).collect::<Vec<_>>());
        let mut hearing = pin!(hearing);
        match env::timeout(limit, hearing.as_mut()).await {
            Ok(heard) => Self(heard),
            Err(_) => {
                traffic.inspect(Traffic::stop);
                Self(hearing.await)
            }
        }
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
    traffic: Traffic,
}

struct Request {
    key: String,
    order: Value,
}

impl Customer {
    async fn order(mut self, client: GatewayClient) -> Self {
        while !self.traffic.is_stopped() {
            if self.unanswered.is_none() {
                self.asked += 1;
                self.unanswered = Some(Request {
                    key: env::id().to_string(),
                    order: an_order(self.number, self.asked),
                });
            }
            self = self.hear(client.clone()).await;
        }
        self
    }

    /// Sends the order that has no answer until it has one.
    async fn hear(mut self, client: GatewayClient) -> Self {
        let Some(Request { key, order }) = &self.unanswered else {
            return self;
        };
        let client = client.with_header("idempotency-key", key);
        loop {
            let sent = env::instant();
            match client.post("/orders", order).await {
                Ok(answer) if is_settled(&answer) => {
                    let id = answer.body["id"].as_str();
                    self.promised.extend(id.map(str::to_owned));
                    self.unanswered = None;
                    self.traffic.answered(sent);
                    return self;
                }
                // Not yet, or nobody was there.
                Ok(_) | Err(_) if self.traffic.is_stopped() => return self,
                Ok(_) | Err(_) => env::sleep(PAUSE).await,
            }
        }
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
    json!({
        "userId": USERS[(customer % 2) as usize],
        "items": [{ "productId": product, "quantity": quantity }],
        "paymentMethod": payment,
    })
}
