//! Kills the shop, or parts of it, with SIGKILL in the middle of many orders, and looks at what is left.
//!
//! The shop runs in one process, on embedded parts or on PostgreSQL and NATS, and is killed in [`rounds`]; or each service
//! is a process of its own and all of them are in a [`storm`]. Who got no answer asks again with the same key. At the end
//! the shop must come to rest: every order that it promised is there, once, and confirmed or cancelled, and every
//! invariant is whole. `scripts/crash-test` and `scripts/chaos` build what this needs and call it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it reports to a terminal"
)]

mod backing;
mod customers;
mod place;
mod processes;
mod rounds;
mod storm;
mod supervised;
mod verdict;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use outrigger::env::BoxError;
use serde_json::Value;

use crate::{place::Backend, verdict::Verdict};

const USAGE: &str = "usage: crash-test [--shop FILE] [--on embedded|distributed] [--rounds N]
       crash-test [--shop FILE] --on processes [--seconds N]";

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

/// Prints one line of figures; whether every guarantee was kept.
async fn run() -> Result<bool, BoxError> {
    let Arguments {
        shop,
        backend,
        rounds,
        seconds,
    } = Arguments::parse()?;
    let Outcome {
        figures,
        is_whole,
        verdict,
    } = match backend {
        Some(backend) => rounds::run(&shop, backend, rounds).await?,
        None => storm::run(&shop, Duration::from_secs(seconds)).await?,
    };
    let of = |value: Value| value.as_object().cloned().unwrap_or_default();
    let line = of(figures).into_iter().chain(of(verdict.figures()));
    println!("{}", Value::from_iter(line));
    Ok(is_whole && verdict.is_whole())
}

/// What came of it.
struct Outcome {
    /// Of the killing.
    figures: Value,
    /// Whether what these figures tell is as it was promised.
    is_whole: bool,
    verdict: Verdict,
}

struct Arguments {
    shop: PathBuf,
    /// Of the one process; `None` for one process each.
    backend: Option<Backend>,
    rounds: u64,
    seconds: u64,
}

impl Arguments {
    fn parse() -> Result<Self, BoxError> {
        let mut parsed = Self {
            shop: PathBuf::from("target/release/shop"),
            backend: Some(Backend::Embedded),
            rounds: 20,
            seconds: 300,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match (word.as_str(), words.next()) {
                ("--shop", Some(path)) => parsed.shop = path.into(),
                ("--on", Some(name)) if name == "processes" => parsed.backend = None,
                ("--on", Some(name)) => {
                    parsed.backend = Some(Backend::parse(&name).ok_or(USAGE)?);
                }
                ("--rounds", Some(count)) => parsed.rounds = count.parse()?,
                ("--seconds", Some(count)) => parsed.seconds = count.parse()?,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(parsed)
    }
}
