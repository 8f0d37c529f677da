//! Kills the whole shop with SIGKILL in the middle of many orders, again and again, and looks at what is left.
//!
//! In each round, at a random moment after orders are answered, something is killed: the shop, whose next process goes
//! on with the same data; or the PostgreSQL or the NATS server under it, which comes back while the shop runs on. Who
//! got no answer asks again with the same key. At the end the shop is started once more and must come to rest: every
//! order that it promised is there, once, and confirmed or cancelled, and every invariant is whole.
//! `scripts/crash-test` builds what this needs and calls it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it reports to a terminal"
)]

mod customers;
mod place;

use std::{collections::BTreeMap, future::ready, path::PathBuf, process::ExitCode, time::Duration};

use outrigger::{
    Inspection,
    env::{self, BoxError},
};
use serde_json::json;

use customers::{Answers, Customers};
use place::{Backend, Place};

/// The longest that orders are answered before something is killed, in milliseconds.
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
    let answers = Answers::default();
    let mut ordering = tokio::spawn(ready(Customers::new(&answers)));
    for round in 1..=rounds {
        if let Some(client) = place.start()? {
            if round == 1 {
                customers::stock_up(&client).await?;
            }
            let customers = ordering.await?;
            ordering = tokio::spawn(customers.order_until_the_end(client));
        }
        answers.flow().await;
        let pause = Duration::from_millis(env::random().below(ROUND_MS_MAX));
        env::sleep(pause).await;
        let victim = place.kill_one().await?;
        *killed.entry(victim).or_default() += 1;
        eprintln!("{backend}: round {round} of {rounds}: killed the {victim}");
    }
    place.kill_the_shop();
    let mut customers = ordering.await?;
    if let Some(client) = place.start()? {
        customers = customers.hear(client).await;
    }
    let Rest {
        unrest,
        violations,
        orders,
    } = come_to_rest(&place).await?;

    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for status in orders.values() {
        *counts.entry(status).or_default() += 1;
    }
    let ended = ["CONFIRMED", "CANCELLED"].map(|status| counts.get(status).unwrap_or(&0));
    let open = orders.len() as u64 - ended.into_iter().sum::<u64>();
    let promised = customers.promised().count();
    let lost: Vec<_> = customers
        .promised()
        .filter(|id| !orders.contains_key(*id))
        .collect();
    let unanswered = customers.unanswered();
    let whole = unrest.is_empty() && violations.is_empty() && lost.is_empty();
    println!(
        "{}",
        json!({
            "rounds": rounds,
            "killed": killed,
            "asked": customers.asked(),
            "unanswered": unanswered,
            "promised": promised,
            "lost": lost,
            "orders": counts,
            "open": open,
            "unrest": unrest,
            "violations": violations,
        })
    );
    Ok(whole && open == 0 && unanswered == 0)
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
    /// The status of each, by id.
    orders: BTreeMap<String, String>,
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
                orders: orders(&view).await?,
                unrest,
                violations,
            });
        }
        env::sleep(Duration::from_millis(100)).await;
    }
}

async fn orders(view: &Inspection) -> Result<BTreeMap<String, String>, BoxError> {
    let sql = "SELECT id, status FROM orders";
    let rows = view.query("order-service", sql, &[]).await?;
    rows.iter()
        .map(|row| Ok((row.get("id")?, row.get("status")?)))
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
