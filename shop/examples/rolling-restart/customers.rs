//! Those who use the shop meanwhile: they look around, order, and never ask twice.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use outrigger::{
    client::{Answer, NoAnswer},
    env::{self, BoxError},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::door::Door;

/// So many use it at the same time.
const CUSTOMERS: usize = 6;
/// How long one waits between two requests.
const PAUSE: Duration = Duration::from_millis(5);
/// How many answers there are after each restart before the next one.
const ENOUGH: usize = 20 * CUSTOMERS;
/// How long that may take.
const LIMIT: Duration = Duration::from_secs(120);
/// More than they can ever buy.
const STOCK: u64 = 1_000_000;

/// See the [module](self).
pub(crate) struct Customers {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    tally: Mutex<Tally>,
}

/// What came of it.
#[derive(Default, Clone)]
pub(crate) struct Tally {
    pub(crate) requests: usize,
    pub(crate) orders: usize,
    pub(crate) failures: Vec<String>,
    took: Vec<Duration>,
}

impl Tally {
    /// In how many milliseconds that share of the requests was answered.
    pub(crate) fn quantile(&self, share: f64) -> Option<u128> {
        let mut took = self.took.clone();
        took.sort();
        let last = took.len().checked_sub(1)?;
        let index = (last as f64 * share).round() as usize;
        took.get(index).map(Duration::as_millis)
    }
}

impl Customers {
    /// Fills the shop, and lets the customers in.
    pub(crate) async fn start(door: &Door) -> Result<Self, BoxError> {
        let user = json!({ "id": "ada", "name": "Ada", "email": "ada@example.com" });
        let product = json!({ "id": "pencil", "name": "Pencil", "price": 1.5, "stock": STOCK });
        for (path, body) in [("/users", user), ("/products", product)] {
            let answer = door.gateway().post(path, &body).await?;
            if !answer.status.is_success() {
                return Err(format!("POST {path} got {answer:?}").into());
            }
        }
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for _ in 0..CUSTOMERS {
            let (shared, door) = (Arc::clone(&shared), door.clone());
            tasks.spawn(async move {
                while !shared.stopped.load(Ordering::Relaxed) {
                    shared.visit(&door).await;
                }
            });
        }
        Ok(Self { shared, tasks })
    }

    /// Waits for some more answers.
    pub(crate) async fn flow(&self) -> Result<(), BoxError> {
        let enough = self.shared.tally().requests + ENOUGH;
        let flowing = async {
            while self.shared.tally().requests < enough {
                env::sleep(PAUSE).await;
            }
        };
        Ok(env::timeout(LIMIT, flowing).await?)
    }

    /// Lets them finish what they have begun.
    pub(crate) async fn stop(mut self) -> Tally {
        self.shared.stopped.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        self.shared.tally().clone()
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One order, and what is looked at before and after it.
    async fn visit(&self, door: &Door) {
        for path in [
            "/users/ada",
            "/products/pencil",
            "/notifications?userId=ada",
        ] {
            self.get(door, path).await;
        }
        let line = json!({ "productId": "pencil", "quantity": 1 });
        let order = json!({ "userId": "ada", "items": [line] });
        let begun = env::instant();
        let answer = door.gateway().post("/orders", &order).await;
        let what = "POST /orders";
        if let Some(answer) = self.count(what, begun.elapsed(), answer) {
            self.tally().orders += 1;
            if let Some(id) = answer.body["id"].as_str() {
                self.get(door, &format!("/orders/{id}")).await;
            }
        }
        self.get(door, "/order-history?userId=ada&limit=5").await;
    }

    async fn get(&self, door: &Door, path: &str) {
        let begun = env::instant();
        let answer = door.gateway().get(path).await;
        self.count(&format!("GET {path}"), begun.elapsed(), answer);
        env::sleep(PAUSE).await;
    }

    /// Notes what came of a request; the answer, if it is a good one.
    fn count(
        &self,
        what: &str,
        took: Duration,
        answer: Result<Answer, NoAnswer>,
    ) -> Option<Answer> {
        let mut tally = self.tally();
        tally.requests += 1;
        tally.took.push(took);
        match answer {
            Ok(answer) if answer.status.is_success() => return Some(answer),
            Ok(Answer { status, body, .. }) => {
                tally
                    .failures
                    .push(format!("{what} got {status}: {}", detail(&body)));
            }
            Err(error) => tally.failures.push(error.to_string()),
        }
        None
    }
}

fn detail(body: &Value) -> String {
    body["detail"]
        .as_str()
        .map_or_else(|| body.to_string(), str::to_owned)
}
