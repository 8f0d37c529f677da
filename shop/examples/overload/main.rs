//! Offers the shop ten times what it can do, and looks whether it goes on doing that (G9).
//!
//! The shop runs in a process of its own (this program, called with `up`), on embedded parts, with a payment provider that
//! takes [`provider::TAKES`] for a charge and [`provider::AT_ONCE`] at a time: so what bounds the shop is a dependency, as it
//! mostly is, and not the processor that the load generator shares with it. First it is found out how many good orders a
//! second it can do; then ten times as many are offered, on schedule, whether or not earlier ones were answered; then half of
//! it, until all is well again. Every order has an `Idempotency-Key`, so that whatever makes it again may.
//!
//! Called with `--plot FILE` it draws what happened. `scripts/overload` builds and calls it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it reports to a terminal"
)]

mod load;
mod plot;
mod process;
mod provider;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use outrigger::env::BoxError;
use serde_json::json;

use crate::{
    load::{Sent, good_a_second, offer, p99},
    process::Shop,
};

/// The first rate that is tried, and by how much the next is more.
const STEP: f64 = 20.0;
/// How long each rate is tried.
const TRIED: Duration = Duration::from_secs(5);
/// How long ten times the peak is offered.
const OVERLOAD: Duration = Duration::from_secs(20);
/// How long half of the peak is offered after that.
const AFTER: Duration = Duration::from_secs(10);

/// Of the peak that is left under overload.
const KEPT_LEAST: f64 = 0.9;
/// The p99 of accepted orders.
const P99_MOST: Duration = Duration::from_secs(1);
/// Resident memory of the whole shop, in MiB.
const MEMORY_MOST: u64 = 512;
/// Of the orders of a second that are good when all is well.
const WELL: f64 = 0.9;
/// Until all is well again.
const RECOVERY_MOST: Duration = Duration::from_secs(5);
/// Requests for each call, retries included.
const AMPLIFICATION_MOST: f64 = 1.25;

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|verb| verb == "up") {
        return cli::main(shop::system_with(payment::service_on(
            provider::Slow::default(),
        )));
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints one line of figures; whether all are within their bounds.
async fn run() -> Result<bool, BoxError> {
    let mut arguments = std::env::args().skip(1);
    let plot = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => None,
        (Some("--plot"), Some(file)) => Some(PathBuf::from(file)),
        _ => return Err("usage: overload [--plot FILE]".into()),
    };
    let mut shop = Shop::start().await?;
    let client = shop.customer();
    // Warm up.
    offer(&client, STEP, TRIED).await;

    let (mut rate, mut peak) = (STEP, 0.0_f64);
    loop {
        let sent = offer(&client, rate, TRIED).await;
        let good = good_a_second(&sent, TRIED);
        eprintln!("{rate:.0} orders a second: {good:.1} good ones");
        peak = peak.max(good);
        if good < 0.95 * rate {
            break;
        }
        rate += STEP;
    }

    let offered = 10.0 * peak;
    let overload = offer(&client, offered, OVERLOAD).await;
    let after = offer(&client, peak / 2.0, AFTER).await;
    let good = good_a_second(&overload, OVERLOAD);
    let accepted = overload.iter().filter(|sent| sent.is_accepted());
    let p99 = p99(accepted.clone().map(|sent| sent.took));
    let recovery = recovery(&after);
    let memory = shop.peak_memory_mib()?;
    let amplification = shop.amplification().await?;
    shop.stop().await?;
    if let Some(file) = plot {
        plot::draw(&file, peak, &overload, OVERLOAD, &after)?;
    }
    let whole = good >= KEPT_LEAST * peak
        && p99 <= P99_MOST
        && memory <= MEMORY_MOST
        && recovery.is_some_and(|recovery| recovery <= RECOVERY_MOST)
        && amplification <= AMPLIFICATION_MOST;
    let refused = overload.iter().filter(|sent| sent.is_refused()).count();
    println!(
        "{}",
        json!({
            "peakGoodPerSecond": round(peak),
            "offeredPerSecond": round(offered),
            "goodPerSecond": round(good),
            "kept": round(good / peak),
            "offered": overload.len(),
            "accepted": accepted.count(),
            "refused": refused,
            "p99AcceptedMs": p99.as_millis() as u64,
            "peakMemoryMiB": memory,
            "recoveryMs": recovery.map(|recovery| recovery.as_millis() as u64),
            "amplification": round(amplification),
            "withinBounds": whole,
        })
    );
    Ok(whole)
}

/// The end of the last second, since the load ended, that was not well: of its orders fewer than [`WELL`] were good. `None` if
/// that did not end.
fn recovery(after: &[Sent]) -> Option<Duration> {
    let seconds = after.chunk_by(|one, next| one.at.as_secs() == next.at.as_secs());
    let seconds = seconds.collect::<Vec<_>>();
    let is_well = |orders: &&[Sent]| {
        let good = orders.iter().filter(|sent| sent.is_good()).count();
        good as f64 >= WELL * orders.len() as f64
    };
    match seconds.iter().rposition(|orders| !is_well(orders)) {
        None => Some(Duration::ZERO),
        Some(last) if last + 1 < seconds.len() => Some(Duration::from_secs(last as u64 + 1)),
        Some(_) => None,
    }
}

fn round(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}
