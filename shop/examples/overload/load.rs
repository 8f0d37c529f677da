//! Customers that order on schedule, whether or not earlier orders were answered: an open loop.

use std::time::Duration;

use outrigger::{
    GatewayClient,
    env::{self, id},
    futures::future::join_all,
};
use serde_json::json;

/// An order that is answered later is not worth having.
pub(crate) const GOOD: Duration = Duration::from_secs(1);

/// An order that was sent.
pub(crate) struct Sent {
    /// Since the first one.
    pub(crate) at: Duration,
    /// Until its answer.
    pub(crate) took: Duration,
    /// The status of the answer, if one came.
    status: Option<u16>,
}

impl Sent {
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self.status, Some(201 | 202))
    }

    pub(crate) fn is_good(&self) -> bool {
        self.status == Some(201) && self.took <= GOOD
    }

    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.status, Some(429 | 503))
    }
}

/// Sends `rate` orders a second for `length`, and waits for all answers; in the order in which they were sent.
pub(crate) async fn offer(client: &GatewayClient, rate: f64, length: Duration) -> Vec<Sent> {
    let begun = env::instant();
    let mut orders = Vec::new();
    for number in 0..(rate * length.as_secs_f64()) as u64 {
        let at = Duration::from_secs_f64(number as f64 / rate);
        env::sleep_until(begun + at).await;
        let client = client
            .clone()
            .with_header("idempotency-key", &id().to_string());
        orders.push(tokio::spawn(async move {
            let sent = env::instant();
            let order = json!({ "userId": "ada", "items": [{ "productId": "ink", "quantity": 1 }], "paymentMethod": "tok_ok" });
            let answer = client.post("/orders", &order).await;
            Sent {
                at,
                took: sent.elapsed(),
                status: answer.ok().map(|answer| answer.status.as_u16()),
            }
        }));
    }
    let sent = join_all(orders).await;
    sent.into_iter().filter_map(Result::ok).collect()
}

/// Good orders a second.
pub(crate) fn good_a_second(sent: &[Sent], length: Duration) -> f64 {
    sent.iter().filter(|sent| sent.is_good()).count() as f64 / length.as_secs_f64()
}

/// What all but one of a hundred took less than.
pub(crate) fn p99(took: impl Iterator<Item = Duration>) -> Duration {
    let mut took: Vec<_> = took.collect();
    took.sort();
    let index = took.len() * 99 / 100;
    took.get(index).copied().unwrap_or_default()
}
