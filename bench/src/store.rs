//! Appends to the event store, beside inserts of the same rows without it, and beside another event store.
//!
//! Every append is durable before it counts, on all sides: the disk has confirmed it.

mod cqrs_es;
mod ours;
mod raw_postgres;
mod raw_sqlite;

use std::time::Duration;

use servers::{Postgres, postgres};

use self::ours::How;
use crate::{Result, report::Case, rounds::median};

/// How many write at the same time, in the case of many.
const MANY: usize = 64;

/// How long each side is measured in a round.
const ROUND: Duration = Duration::from_secs(1);

const SQLITE: &str = "WAL, synchronous=FULL";
const POSTGRES: &str = "fsync=on, synchronous_commit=on";

pub async fn run(quick: bool) -> Result<Vec<Case>> {
    let rounds = if quick { 1 } else { 5 };
    let server = Postgres::start_with(postgres::Options::new().fsync()).await?;
    let mut cases = Vec::new();
    for writers in [1, MANY] {
        cases.extend(sqlite(writers, rounds).await?);
    }
    for writers in [1, MANY] {
        cases.extend(on_postgres(&server, writers, rounds).await?);
    }
    Ok(cases)
}

/// By turns, so that a disk that is slower for a while is so for all.
async fn sqlite(writers: usize, rounds: usize) -> Result<Vec<Case>> {
    let (mut alone, mut within, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name);
        let url = |name: &str| format!("sqlite:{}", file(name).display());
        alone.push(ours::appends(&url("alone.sqlite"), How::Alone, writers, ROUND).await?);
        raw.push(raw_sqlite::inserts(&file("raw.sqlite"), writers, ROUND)?);
        within.push(ours::appends(&url("tx.sqlite"), How::InTransaction, writers, ROUND).await?);
    }
    let peer = format!("rusqlite, {writers} row(s) a commit");
    let raw = median(raw);
    let case = |how, ours| {
        let name = name("SQLite", how, writers);
        Case::rate(&name, median(ours), &peer, raw, SQLITE)
    };
    Ok(vec![
        case(How::Alone, alone),
        case(How::InTransaction, within),
    ])
}

async fn on_postgres(server: &Postgres, writers: usize, rounds: usize) -> Result<Vec<Case>> {
    let (mut alone, mut within) = (Vec::new(), Vec::new());
    let (mut raw, mut cqrs_es) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let database = async |side: &str| {
            let name = format!("{side}_{writers}_{round}");
            server.database(&name).await
        };
        let url = database("alone").await?;
        alone.push(ours::appends(&url, How::Alone, writers, ROUND).await?);
        raw.push(raw_postgres::inserts(&database("raw").await?, writers, ROUND).await?);
        let url = database("within").await?;
        within.push(ours::appends(&url, How::InTransaction, writers, ROUND).await?);
        cqrs_es.push(cqrs_es::appends(&database("cqrs").await?, writers, ROUND).await?);
    }
    let (alone, within) = (median(alone), median(within));
    let (raw, cqrs_es) = (median(raw), median(cqrs_es));
    let raw_name = format!("tokio-postgres, {writers} row(s) a commit");
    let other_name = "cqrs-es with postgres-es";
    let mut cases = Vec::new();
    for (how, ours) in [(How::Alone, alone), (How::InTransaction, within)] {
        let name = name("PostgreSQL", how, writers);
        cases.push(Case::rate(&name, ours, &raw_name, raw, POSTGRES));
        cases.push(Case::rate(&name, ours, other_name, cqrs_es, POSTGRES));
    }
    Ok(cases)
}

fn name(engine: &str, how: How, writers: usize) -> String {
    let how = match how {
        How::Alone => "appends",
        How::InTransaction => "transactions that append",
    };
    format!("{engine}: {how}, {writers} writer(s)")
}
