//! Appends to the event store, beside inserts of the same rows without it.
//!
//! Every append is durable before it counts, on both sides: the disk has confirmed it.

mod raw_sqlite;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use data::Database;
use eventsourcing::{Aggregate, Append, Expected};
use serde::{Deserialize, Serialize};

use crate::{Result, report::Case};

/// How many write at the same time, in the case of many.
const MANY: usize = 64;

/// What is written: about as large as an event of the shop.
#[derive(Serialize, Deserialize, Clone)]
#[serde(tag = "type", content = "data")]
pub enum Change {
    /// An amount was paid in.
    Deposited {
        account: String,
        amount: i64,
        note: String,
    },
}

/// The thing whose events are written.
#[derive(Default)]
pub struct Account(i64);

impl Aggregate for Account {
    const KIND: &'static str = "account";
    type Event = Change;

    fn apply(&mut self, event: &Change) {
        let Change::Deposited { amount, .. } = event;
        self.0 += amount;
    }
}

pub fn change(account: &str) -> Change {
    Change::Deposited {
        account: account.to_owned(),
        amount: 1250,
        note: "a deposit with a note of ordinary length".to_owned(),
    }
}

/// How long each side is measured in a round.
const ROUND: Duration = Duration::from_secs(1);

pub async fn run(quick: bool) -> Result<Vec<Case>> {
    let rounds = if quick { 1 } else { 5 };
    let mut cases = Vec::new();
    for writers in [1, MANY] {
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        // By turns, so that a disk that is slower for a while is so for both.
        for _ in 0..rounds {
            let folder = tempfile::tempdir()?;
            let url = format!("sqlite:{}", folder.path().join("ours.sqlite").display());
            ours.push(appends(&url, writers, ROUND).await?);
            peer.push(raw_sqlite::inserts(
                &folder.path().join("raw.sqlite"),
                writers,
                ROUND,
            )?);
        }
        let (ours, peer) = (median(ours), median(peer));
        let peer_name = format!("rusqlite, {writers} row(s) a commit");
        let settings = "WAL, synchronous=FULL";
        cases.push(Case::rate(
            &name("SQLite", writers),
            ours,
            &peer_name,
            peer,
            settings,
        ));
    }
    Ok(cases)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn name(engine: &str, writers: usize) -> String {
    format!("{engine}: appends, {writers} writer(s)")
}

/// Appends a second: each writer has a stream of its own, and expects the version that it left.
async fn appends(url: &str, writers: usize, time: Duration) -> Result<f64> {
    let db = Database::open(url).await?;
    eventsourcing::install(&db).await?;
    let done = Arc::new(AtomicU64::new(0));
    let started = env::instant();
    let work = (0..writers).map(|writer| {
        let (db, done) = (db.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let id = format!("account-{writer}");
            let mut version = 0;
            while env::instant() - started < time {
                let mut tx = db.begin().await?;
                version = tx
                    .append::<Account>(&id, Expected::Version(version), &[change(&id)])
                    .await?;
                tx.commit().await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, crate::Error>(())
        })
    });
    for writer in futures::future::join_all(work).await {
        writer??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / (env::instant() - started).as_secs_f64())
}
