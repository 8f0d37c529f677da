//! Restarts every process of the shop in turn, under load, and looks whether a request failed (G8).
//!
//! The shop is two gateways and two processes of each service on PostgreSQL and NATS, which find each other at a hub. Each
//! process in turn is told to stop by SIGTERM, and another one takes its place; so is the hub. Meanwhile customers order,
//! through whichever gateway says that it is ready, as a load balancer in front would have it. Nobody asks twice:
//! whatever goes wrong is seen. `scripts/rolling-restart` builds what this needs and calls it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it reports to a terminal"
)]

#[path = "../crash-test/backing.rs"]
mod backing;
mod customers;
mod door;
mod place;
mod process;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use outrigger::env::{self, BoxError};
use serde_json::json;

use crate::{customers::Customers, door::Door, place::Place};

const USAGE: &str = "usage: rolling-restart [--shop FILE] [--rounds N]";

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

/// Prints one line of figures; whether no request failed and the shop is whole.
async fn run() -> Result<bool, BoxError> {
    let (shop, rounds) = arguments()?;
    let begun = env::instant();
    let mut place = Place::start(&shop).await?;
    let door = Door::of(place.gateways());
    let customers = Customers::start(&door).await?;
    let mut restarted = 0_u64;
    for round in 1..=rounds {
        for index in 0..place.len() {
            let name = place.name(index).to_owned();
            let took = place.restart(index).await?;
            restarted += 1;
            // As many answers as it takes to meet the one that came, and whatever the one that left broke off.
            customers.flow().await?;
            eprintln!(
                "round {round}: {name} was replaced in {} ms",
                took.as_millis()
            );
        }
    }
    let tally = customers.stop().await;
    for failure in tally.failures.iter().take(10) {
        eprintln!("failed: {failure}");
    }
    let whole = place.comes_to_rest(Duration::from_secs(60)).await?;
    let panics = place.panics()?;
    let is_whole = tally.failures.is_empty() && whole.is_none() && panics == 0 && tally.orders > 0;
    if let Some(broken) = &whole {
        eprintln!("not whole: {broken}");
    }
    println!(
        "{}",
        json!({
            "restarted": restarted,
            "requests": tally.requests,
            "failed": tally.failures.len(),
            "orders": tally.orders,
            "p99Ms": tally.quantile(0.99),
            "slowestMs": tally.quantile(1.0),
            "panics": panics,
            "whole": whole.is_none(),
            "seconds": begun.elapsed().as_secs(),
        })
    );
    if !is_whole {
        eprintln!("the logs are in {}", place.leave_logs().display());
    }
    Ok(is_whole)
}

/// The shop's binary, and how often everything is restarted.
fn arguments() -> Result<(PathBuf, u64), BoxError> {
    let (mut shop, mut rounds) = (PathBuf::from("target/release/shop"), 2);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match (word.as_str(), words.next()) {
            ("--shop", Some(path)) => shop = path.into(),
            ("--rounds", Some(count)) => rounds = count.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    Ok((shop, rounds))
}
