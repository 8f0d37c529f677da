//! Everything of which the shop consists is killed, several at a time, while orders come in.

use std::{collections::BTreeMap, path::Path, time::Duration};

use outrigger::{
    env::{self, BoxError},
    futures::future::try_join_all,
};
use serde_json::json;

use crate::{
    Outcome,
    customers::{self, Customers, Traffic},
    processes::{Component, Processes},
    verdict::{PATIENCE, Verdict},
};

/// So many components are away at the same time, at most.
const AWAY_AT_ONCE: u64 = 3;
/// The longest that one is away; and never more than a part of the whole storm.
const AWAY_MAX: Duration = Duration::from_secs(30);
const PART_OF_STORM: u32 = 4;
/// Within so long the components of a wave are killed.
const WAVE: Duration = Duration::from_secs(3);
/// The longest time between two waves, once orders are answered again.
const CALM: Duration = Duration::from_secs(2);
/// Within so long orders must be answered again once everything was started again.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

/// Wave after wave for so long: some components are killed, each is away for a while, and when all are back it is measured
/// how long it takes until an order is answered.
pub(crate) async fn run(binary: &Path, length: Duration) -> Result<Outcome, BoxError> {
    let mut shop = Processes::start(binary).await?;
    let client = shop.client();
    customers::stock_up(&client).await?;
    let traffic = Traffic::default();
    let ordering = tokio::spawn(Customers::new(&traffic).order(client.clone()));
    traffic.flow().await;

    let longest = AWAY_MAX.min(length / PART_OF_STORM);
    let mut killed: BTreeMap<String, u64> = BTreeMap::new();
    let mut recoveries = Vec::new();
    let start = env::instant();
    while start.elapsed() < length {
        let names = wave(shop.components(), longest).await?;
        let back = env::instant();
        eprintln!(
            "after {} s: killed {}",
            start.elapsed().as_secs(),
            names.join(", ")
        );
        for name in names {
            *killed.entry(name).or_default() += 1;
        }
        recoveries.push(traffic.recovery(back, RECOVERY_LIMIT).await);
        env::sleep(any_of(CALM)).await;
    }
    let seconds = start.elapsed().as_secs();
    let answered = traffic.seconds_with_answers(start, seconds);

    traffic.stop();
    let customers = ordering.await?.hear(client, PATIENCE).await;
    let verdict = Verdict::of(shop.look().await?, &customers).await?;
    let unrecovered = recoveries.iter().filter(|it| it.is_none()).count();
    let panics = shop.panics()?;
    let is_whole = unrecovered == 0 && panics.is_empty();
    let figures = json!({
        "seconds": seconds,
        "waves": recoveries.len(),
        "killed": killed,
        "gaveUp": shop.gave_up(),
        "availability": answered as f64 / seconds.max(1) as f64,
        "recoveryP50Ms": quantile(&recoveries, 0.5),
        "recoveryP99Ms": quantile(&recoveries, 0.99),
        "unrecovered": unrecovered,
        "panics": panics,
    });
    if !is_whole || !verdict.is_whole() {
        eprintln!(
            "what the processes said is in {}",
            shop.leave_logs().display()
        );
    }
    Ok(Outcome {
        figures,
        is_whole,
        verdict,
    })
}

/// Kills some components, and returns their names when all of them have been started again.
async fn wave(components: &mut [Component], longest: Duration) -> Result<Vec<String>, BoxError> {
    let mut left = 1 + env::random().below(AWAY_AT_ONCE.min(components.len() as u64));
    let mut victims = Vec::new();
    let mut others = components.len() as u64;
    for component in components {
        // As many as are wanted of those that are left, each as likely as the others.
        if env::random().below(others) < left {
            left -= 1;
            victims.push(component);
        }
        others -= 1;
    }
    let outages = victims.into_iter().map(async |component: &mut Component| {
        env::sleep(any_of(WAVE.min(longest))).await;
        component.kill(any_of(longest)).await?;
        Ok::<_, BoxError>(component.name().to_owned())
    });
    try_join_all(outages).await
}

fn any_of(longest: Duration) -> Duration {
    let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(env::random().below(longest.max(1)))
}

/// Of the waves that were recovered from, in milliseconds.
fn quantile(recoveries: &[Option<Duration>], share: f64) -> Option<u128> {
    let mut sorted: Vec<_> = recoveries.iter().flatten().collect();
    sorted.sort();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    let found = sorted.get(rank.checked_sub(1)?)?;
    Some(found.as_millis())
}
