//! Kills the whole shop with SIGKILL in the middle of many orders, again and again, and looks at what is left.
//!
//! In each round customers order, and at a random moment something is killed: the shop, whose next process goes on
//! with the same data; or the PostgreSQL or the NATS server under it, which comes back while the shop runs on. At the
//! end the shop is started once more and must come to rest: every order confirmed or cancelled, every invariant whole.
//! `scripts/crash-test` builds what this needs and calls it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it reports to a terminal"
)]

mod customers;
mod place;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use outrigger::{
    Inspection,
    env::{self, BoxError},
};
use serde_json::json;

use place::{Backend, Place};

/// The longest that a round lasts before something is killed, in milliseconds.
const ROUND_MS_MAX: u64 = 1_500;
/// How long the shop may take to come to rest at the end.
const PATIENCE: Duration = Duration::from_secs(60);

const USAGE: &str = "usage: crash-test [--shop FILE] [--on embedded|distributed] [--rounds N]";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<bool, BoxError> {
    let Arguments {
        shop,
        backend,
        rounds,
    } = Arguments::parse()?;
    let mut place = Place::prepare(backend, &shop).await?;
    let mut killed: BTreeMap<&str, u64> = BTreeMap::new();
    let mut asked = 0;
    let mut ordering = None;
    for round in 1..=rounds {
        if let Some(client) = place.start()? {
            if round == 1 {
                customers::stock_up(&client).await?;
            }
            ordering = Some(tokio::spawn(customers::order_until_the_end(client, round)));
        }
        let pause = Duration::from_millis(100 + env::random().below(ROUND_MS_MAX));
        env::sleep(pause).await;
        let victim = place.kill_one().await?;
        *killed.entry(victim).or_default() += 1;
        eprintln!("{backend}: round {round} of {rounds}: killed the {victim}");
        if !place.is_open()
            && let Some(ordering) = ordering.take()
        {
            asked += ordering.await?;
        }
    }
    place.kill_the_shop();
    if let Some(ordering) = ordering {
        asked += ordering.await?;
    }
    place.start()?;
    let Rest {
        unrest,
        violations,
        orders,
    } = come_to_rest(&place).await?;

    let open = orders
        .iter()
        .filter(|(status, _)| !matches!(status.as_str(), "CONFIRMED" | "CANCELLED"));
    let open: i64 = open.map(|(_, count)| count).sum();
    let whole = unrest.is_empty() && violations.is_empty() && open == 0;
    println!(
        "{}",
        json!({
            "rounds": rounds,
            "killed": killed,
            "asked": asked,
            "orders": orders,
            "open": open,
            "unrest": unrest,
            "violations": violations,
        })
    );
    Ok(whole)
}

struct Arguments {
    shop: PathBuf,
    backend: Backend,
    rounds: u64,
}

impl Arguments {
    fn parse() -> Result<Self, BoxError> {
        let mut parsed = Self {
            shop: PathBuf::from("target/release/shop"),
            backend: Backend::Embedded,
            rounds: 20,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match (word.as_str(), words.next()) {
                ("--shop", Some(path)) => parsed.shop = path.into(),
                ("--on", Some(name)) => parsed.backend = Backend::parse(&name).ok_or(USAGE)?,
                ("--rounds", Some(count)) => parsed.rounds = count.parse()?,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(parsed)
    }
}

/// What there is once nothing happens any more.
struct Rest {
    unrest: Vec<String>,
    violations: Vec<String>,
    orders: BTreeMap<String, i64>,
}

/// Waits until nothing goes on. What is still on a bus outside of the shop is not seen; it shows in the invariants, so
/// these may take their time too.
async fn come_to_rest(place: &Place) -> Result<Rest, BoxError> {
    let deadline = env::instant() + PATIENCE;
    let view = place.look().await?;
    loop {
        let unrest = view.unrest().await?;
        let violations = match unrest.is_empty() {
            true => violations(&view).await,
            false => Vec::new(),
        };
        let is_over = unrest.is_empty() && violations.is_empty();
        if is_over || env::instant() > deadline {
            return Ok(Rest {
                orders: statuses(&view).await?,
                unrest,
                violations,
            });
        }
        env::sleep(Duration::from_millis(100)).await;
    }
}

async fn statuses(view: &Inspection) -> Result<BTreeMap<String, i64>, BoxError> {
    let sql = "SELECT status, count(*) AS count FROM orders GROUP BY status";
    let rows = view.query("order-service", sql, &[]).await?;
    rows.iter()
        .map(|row| Ok((row.get("status")?, row.get("count")?)))
        .collect()
}

async fn violations(view: &Inspection) -> Vec<String> {
    let mut found = Vec::new();
    for invariant in shop::system().invariants() {
        if let Err(reason) = invariant.check(view.clone()).await {
            found.push(format!("{}: {reason}", invariant.name()));
        }
    }
    found
}
