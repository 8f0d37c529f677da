//! Kills publishers, relays, consumers and servers with SIGKILL under load, again and again, and reads everything back.
//!
//! A publisher counts, key by key, and tells each count in an event of the same transaction. A consumer notes how far
//! it has counted along. So each number that is missing, that comes twice or that comes out of order can be told
//! apart at the end. Some events cannot be handled at first: they are tried again, and those that become dead letters
//! are replayed, all while things are killed. With embedded parts it is all one process, which is killed; with PostgreSQL
//! and NATS each part is a process of its own, relay and consumer even two, and the servers are killed too.
//!
//! `scripts/crash-test` builds this and calls it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it reports to a terminal"
)]

mod counting;
mod place;
mod role;
mod trouble;
mod verdict;

use std::{process::ExitCode, time::Duration};

use outrigger::env::{self, BoxError};
use serde_json::json;

use place::{Backend, Place};
use role::Role;

/// A component lives at least so long before the next one is killed.
const PAUSE_MS_MIN: u64 = 100;
/// And at most so long.
const PAUSE_MS_MAX: u64 = 700;
/// Nothing may stand still for longer at the end: twice what a lease of a killed consumer lasts.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest that either bus leaves an event to a consumer that does not say that it lives.
const LEASE: Duration = Duration::from_secs(10);

const USAGE: &str = "usage: crash-delivery [--rounds N] [--on embedded|distributed]";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match Role::parse(&arguments) {
        Some(role) => role.play().await.map(|()| true),
        None => orchestrate(&arguments).await,
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn orchestrate(arguments: &[String]) -> Result<bool, BoxError> {
    let (mut rounds, mut backends) = (20, vec![Backend::Embedded, Backend::Distributed]);
    for pair in arguments.chunks(2) {
        match pair {
            [option, count] if option == "--rounds" => rounds = count.parse()?,
            [option, name] if option == "--on" => {
                backends = vec![Backend::parse(name).ok_or(USAGE)?];
            }
            _ => return Err(USAGE.into()),
        }
    }
    let mut whole = true;
    for backend in backends {
        whole &= crash(backend, rounds).await?;
    }
    Ok(whole)
}

/// Kills at random for `rounds` rounds, lets everything arrive, and prints what came of it.
async fn crash(backend: Backend, rounds: u64) -> Result<bool, BoxError> {
    let mut place = Place::prepare(backend).await?;
    place.start_all()?;
    for round in 1..=rounds {
        let pause = PAUSE_MS_MIN + env::random().below(PAUSE_MS_MAX - PAUSE_MS_MIN);
        env::sleep(Duration::from_millis(pause)).await;
        let victim = place.kill_one().await?;
        eprintln!("{backend}: round {round} of {rounds}: killed {victim}");
    }
    place.stop_publishing()?;
    verdict::until_arrived(&place, PATIENCE).await?;
    // What a killed consumer held is delivered once more when its lease is over.
    eprintln!("{backend}: all has arrived; waiting for what comes again");
    env::sleep(2 * LEASE).await;
    let verdict = verdict::judge(&place).await?;
    place.stop_all();
    let mut line = serde_json::to_value(&verdict)?;
    line["backend"] = json!(backend.to_string());
    line["rounds"] = json!(rounds);
    line["killed"] = json!(place.killed());
    println!("{line}");
    Ok(verdict.is_whole())
}
