//! The whole shop in one process, killed again and again at random moments.

use std::{collections::BTreeMap, future::ready, path::Path, time::Duration};

use outrigger::env::{self, BoxError};
use serde_json::json;

use crate::{
    Outcome,
    customers::{self, Customers, Traffic},
    place::{Backend, Place},
    verdict::{PATIENCE, Verdict},
};

/// The longest that orders are answered before something is killed, in milliseconds.
const ROUND_MS_MAX: u64 = 1_500;

/// In each round, at a random moment after orders are answered, something is killed: the shop, whose next process goes
/// on with the same data; or the PostgreSQL or the NATS server under it, which comes back while the shop runs on.
pub(crate) async fn run(binary: &Path, backend: Backend, rounds: u64) -> Result<Outcome, BoxError> {
    let mut place = Place::prepare(backend, binary).await?;
    let mut killed: BTreeMap<&str, u64> = BTreeMap::new();
    let traffic = Traffic::default();
    let mut ordering = tokio::spawn(ready(Customers::new(&traffic)));
    for round in 1..=rounds {
        if let Some(client) = place.start()? {
            if round == 1 {
                customers::stock_up(&client).await?;
            }
            let customers = ordering.await?;
            ordering = tokio::spawn(customers.order(client));
        }
        traffic.flow().await;
        let pause = Duration::from_millis(env::random().below(ROUND_MS_MAX));
        env::sleep(pause).await;
        let victim = place.kill_one().await?;
        *killed.entry(victim).or_default() += 1;
        eprintln!("{backend}: round {round} of {rounds}: killed the {victim}");
        if !place.is_running() {
            traffic.stop();
        }
    }
    traffic.stop();
    place.kill_the_shop();
    let mut customers = ordering.await?;
    if let Some(client) = place.start()? {
        customers = customers.hear(client, PATIENCE).await;
    }
    let verdict = Verdict::of(place.look().await?, &customers).await?;
    Ok(Outcome {
        figures: json!({ "rounds": rounds, "killed": killed }),
        is_whole: true,
        verdict,
    })
}
