//! How much memory waiting sagas take: starts 100,000 that sleep for an hour, has that hour pass, and lets all finish.
//!
//! `cargo run --release -p shop --example waiting [-- COUNT]` ends with one line of JSON, and fails where the
//! process takes more than 200 MiB or a saga does not finish.

use std::{error::Error, process::ExitCode, time::Duration};

use outrigger::{
    data::{Database, params},
    env, futures,
    saga::{self, Failure, Input, Saga, Sagas, State},
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

const COUNT: u32 = 100_000;
const BATCH: u32 = 1_000;
/// The most resident memory, in bytes.
const LIMIT: u64 = 200 * 1024 * 1024;
/// How long they sleep: longer than it takes to start them.
const NAP: Duration = Duration::from_secs(60 * 60);

#[derive(Serialize, Deserialize)]
struct Nap;

impl Input for Nap {
    const SAGA: &'static str = "nap";
}

async fn nap(saga: Saga, _: Nap) -> Result<(), Failure> {
    saga.sleep(NAP).await;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the figures")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let count: u32 = std::env::args()
        .nth(1)
        .map_or(Ok(COUNT), |count| count.parse())?;
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite:{}", folder.path().join("waiting.sqlite").display());
    let db = Database::open(&url).await?.owned_by("waiting-service");
    let sagas = Sagas::open(db.clone()).await?;
    sagas.register(nap);

    let started = env::instant();
    for first in (0..count).step_by(BATCH as usize) {
        let mut tx = db.begin().await?;
        for number in first..(first + BATCH).min(count) {
            sagas.start(&mut tx, &number.to_string(), Nap).await?;
        }
        tx.commit().await?;
    }
    let starting = env::instant() - started;
    let waiting = resident()?;

    // The hour is over.
    let mut tx = db.begin().await?;
    tx.execute("UPDATE outrigger_timers SET due = $1", params![env::now()])
        .await?;
    tx.commit().await?;
    let woken = env::instant();
    let stop = CancellationToken::new();
    let finishing = async {
        while !sagas.list(State::Running, 1).await?.is_empty() {
            env::sleep(Duration::from_millis(100)).await;
        }
        stop.cancel();
        Ok::<_, saga::Error>(env::instant() - woken)
    };
    let (finishing, ()) = futures::join!(finishing, sagas.run_timers(stop.clone()));
    let finishing = finishing?;
    let completed = "SELECT count(*) FROM outrigger_sagas WHERE state = 'completed'";
    let completed = db.query_one(completed, params![]).await?;
    let completed: u32 = completed.map_or(Ok(0), |row| row.get(0))?;
    let peak = resident()?;
    println!(
        "{}",
        serde_json::json!({
            "sagas": count,
            "completed": completed,
            "waitingBytes": waiting,
            "finishedBytes": peak,
            "limitBytes": LIMIT,
            "startSeconds": starting.as_secs_f64(),
            "finishSeconds": finishing.as_secs_f64(),
        })
    );
    let holds = completed == count && waiting.max(peak) < LIMIT;
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The most memory that this process has had so far, in bytes.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.ok_or("no VmHWM")?.parse::<u64>()? * 1024)
}
