//! Reading a long stream: replaying it, building a read model from it, and the memory that this takes.
//!
//! Each figure is of a process of its own, because the peak of its memory is one of them.

mod ours;
mod raw_postgres;
mod raw_sqlite;

use std::env::current_exe;

use clap::{Args, ValueEnum};
use data::Database;
use eventsourcing::{Batch, Expected, Store};
use serde::{Deserialize, Serialize};
use servers::{Postgres, postgres};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    Result,
    account::{Account, change},
    processes,
    report::Case,
    rounds::median,
};

/// The id of the one stream.
const ID: &str = "1";
/// How many events are appended at once.
const PAGE: usize = 1000;

/// What one process does.
#[derive(Clone, Copy, ValueEnum)]
pub enum Deed {
    /// Loads the aggregate.
    Load,
    /// The same by a driver alone.
    RawLoad,
    /// Builds a read model.
    Rebuild,
    /// The same by a driver alone.
    RawRebuild,
}

/// The arguments of such a process.
#[derive(Args)]
pub struct Part {
    deed: Deed,
    url: String,
    events: u64,
}

/// What it found.
#[derive(Serialize, Deserialize, Clone, Copy)]
struct Measured {
    /// Events a second.
    rate: f64,
    /// The most memory that it had, in MiB.
    peak: f64,
}

/// The stream in two lengths, in databases of their own.
struct Streams {
    engine: &'static str,
    settings: &'static str,
    short: String,
    long: String,
}

pub async fn run(quick: bool, full: bool) -> Result<Vec<Case>> {
    let (events, rounds) = match (quick, full) {
        (true, _) => (20_000, 1),
        (_, false) => (100_000, 3),
        (_, true) => (1_000_000, 1),
    };
    let folder = tempfile::tempdir()?;
    // Nothing is measured that is written durably, but what is read is what a durable server has.
    let server = Postgres::start_with(postgres::Options::new().fsync()).await?;
    let mut cases = Vec::new();
    for streams in [sqlite(&folder), on_postgres(&server).await?] {
        fill(&streams.short, events / 10).await?;
        fill(&streams.long, events).await?;
        cases.extend(compare(&streams, events, rounds).await?);
    }
    Ok(cases)
}

fn sqlite(folder: &TempDir) -> Streams {
    let url = |name| format!("sqlite:{}", folder.path().join(name).display());
    Streams {
        engine: "SQLite",
        settings: "WAL, synchronous=FULL",
        short: url("short.sqlite"),
        long: url("long.sqlite"),
    }
}

async fn on_postgres(server: &Postgres) -> Result<Streams> {
    Ok(Streams {
        engine: "PostgreSQL",
        settings: "fsync=on, synchronous_commit=on",
        short: server.database("short").await?,
        long: server.database("long").await?,
    })
}

async fn fill(url: &str, events: u64) -> Result<()> {
    let db = Database::open(url).await?;
    eventsourcing::install(&db).await?;
    let store = Store::new(db);
    let page = vec![change(ID); PAGE];
    for _ in 0..events / PAGE as u64 {
        let mut batch = Batch::new();
        batch.append::<Account>(ID, Expected::Any, &page)?;
        store.append_batch(batch).await?;
    }
    Ok(())
}

async fn compare(streams: &Streams, events: u64, rounds: usize) -> Result<Vec<Case>> {
    let Streams {
        engine, settings, ..
    } = streams;
    let mut cases = Vec::new();
    for (what, deed, raw_deed) in [
        ("replay of a stream", Deed::Load, Deed::RawLoad),
        ("rebuild of a projection", Deed::Rebuild, Deed::RawRebuild),
    ] {
        let (mut ours, mut raw, mut short) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(part(deed, &streams.long, events).await?);
            raw.push(part(raw_deed, &streams.long, events).await?);
            short.push(part(deed, &streams.short, events / 10).await?);
        }
        let rate = |of: &[Measured]| median(of.iter().map(|it| it.rate).collect());
        let peak = |of: &[Measured]| median(of.iter().map(|it| it.peak).collect());
        let name = format!("{engine}: {what} of {events}");
        let peer = "the driver alone, same rows and JSON";
        cases.push(Case::rate(&name, rate(&ours), peer, rate(&raw), settings));
        let peer = format!("the same of {}", events / 10);
        let name = format!("{name}, peak memory");
        cases.push(Case::cost(
            &name,
            "MiB",
            peak(&ours),
            &peer,
            peak(&short),
            settings,
        ));
    }
    Ok(cases)
}

/// Runs a process of this program.
async fn part(deed: Deed, url: &str, events: u64) -> Result<Measured> {
    let deed = deed.to_possible_value().expect("no deed is hidden");
    let output = Command::new(current_exe()?)
        .args(["replay-part", deed.get_name(), url, &events.to_string()])
        .output()
        .await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What such a process does.
pub async fn run_part(Part { deed, url, events }: Part) -> Result<()> {
    let file = url.strip_prefix("sqlite:").map(str::to_owned);
    let started = env::instant();
    let seen = match (deed, file) {
        (Deed::Load, _) => ours::load(&url).await?,
        (Deed::Rebuild, _) => ours::rebuild(&url, events).await?,
        (Deed::RawLoad, Some(file)) => raw_sqlite::load(&file)?,
        (Deed::RawLoad, None) => raw_postgres::load(&url).await?,
        (Deed::RawRebuild, Some(file)) => raw_sqlite::rebuild(&file)?,
        (Deed::RawRebuild, None) => raw_postgres::rebuild(&url).await?,
    };
    let rate = seen as f64 / (env::instant() - started).as_secs_f64();
    if seen != events {
        return Err(format!("{seen} of {events} events were seen").into());
    }
    let peak = processes::peak_of(std::process::id())?;
    println!("{}", serde_json::to_string(&Measured { rate, peak })?);
    Ok(())
}
