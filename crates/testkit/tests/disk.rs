//! G1 and G2 on disks that lose power, lie, fail and fill up.

#[path = "disk/ledger.rs"]
mod ledger;

use std::time::Duration;

use data::{Error, error::Kind};
use ledger::{Ledger, said};
use outrigger_testkit::disk::{Faults, Odds};

const SEEDS: std::ops::Range<u64> = 0..60;

/// Runs `life` for each seed; the seeds and what was found wrong.
fn wrong<F: Future<Output = Result<(), String>>>(life: impl Fn(Ledger) -> F) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let found = SEEDS.filter_map(|seed| {
        let found = runtime.block_on(life(Ledger::new(seed))).err()?;
        Some(format!("seed {seed}: {found}"))
    });
    found.collect()
}

fn holds<F: Future<Output = Result<(), String>>>(life: impl Fn(Ledger) -> F) {
    let found = wrong(life);
    assert!(found.is_empty(), "{} seeds: {found:#?}", found.len());
}

/// A database lives through losses of power, amid an operation or between two, on a disk with other `faults`.
async fn outages(ledger: Ledger, faults: Faults) -> Result<(), String> {
    for _ in 0..6 {
        ledger.disk.set_faults(Faults {
            power_fails: Odds::After(ledger.chance(600)),
            ..faults.clone()
        });
        if let Ok(db) = ledger.open().await {
            ledger.write(&db, 12).await;
            ledger.disk.power_loss();
        }
        ledger.disk.set_faults(Faults::default());
        let db = ledger.open().await.map_err(said)?;
        ledger.audit(&db).await?;
    }
    assert!(
        ledger.acknowledged.borrow().len() > 5,
        "hardly anything happened"
    );
    Ok(())
}

#[test]
fn g2_power_loss_keeps_what_was_acknowledged_and_g1_nothing_by_halves() {
    holds(|ledger| outages(ledger, Faults::default()));
}

#[test]
fn the_same_test_fails_on_a_disk_that_lies() {
    let lying = Faults {
        sync_lies: Odds::Always,
        ..Faults::default()
    };
    let found = wrong(|ledger| outages(ledger, lying.clone()));
    assert!(found.len() > 30, "{found:#?}");
}

#[test]
fn g2_a_disk_that_fails_now_and_then_loses_nothing_either() {
    let failing = Faults {
        write_fails: Odds::OneIn(60),
        write_tears: Odds::OneIn(60),
        read_fails: Odds::OneIn(100),
        ..Faults::default()
    };
    holds(|ledger| outages(ledger, failing.clone()));
}

/// One sync fails amid other work; then the machine or the process goes.
async fn one_failed_sync(ledger: Ledger) -> Result<(), String> {
    let db = ledger.open().await.map_err(said)?;
    ledger.write(&db, 20).await;
    ledger.disk.set_faults(Faults {
        sync_fails: Odds::After(ledger.chance(12)),
        ..Faults::default()
    });
    let goes_on = ledger.chance(2) == 0;
    while goes_on || ledger.disk.struck() == 0 {
        ledger.write(&db, 2).await;
        env::sleep(Duration::from_millis(50)).await; // time to fold the log
        ledger.audit(&db).await?;
        if ledger.disk.struck() > 0 && ledger.chance(3) == 0 {
            ledger.entry(&db).await.map_err(said)?; // it has recovered by itself
            break;
        }
    }
    if ledger.chance(2) == 0 {
        ledger.disk.power_loss();
    } else {
        ledger.disk.process_death();
    }
    drop(db);
    let db = ledger.open().await.map_err(said)?;
    ledger.audit(&db).await?;
    ledger.write(&db, 5).await;
    ledger.disk.power_loss();
    drop(db);
    ledger.audit(&ledger.open().await.map_err(said)?).await
}

#[test]
fn g2_a_failed_sync_refuses_the_commit_for_good_and_later_ones_stay() {
    holds(one_failed_sync);
}

/// One sync fails, perhaps that of a fold, while somebody else looks into the database now and then.
async fn one_failed_sync_seen_by_another(ledger: Ledger) -> Result<(), String> {
    let db = ledger.open().await.map_err(said)?;
    let other = ledger.inspect().await.map_err(said)?;
    let look = async || {
        let seen = other.query("SELECT count(*) FROM sqlite_schema", &[]).await;
        seen.map(drop).map_err(said)
    };
    ledger.disk.set_faults(Faults {
        sync_fails: Odds::After(ledger.chance(12)),
        ..Faults::default()
    });
    while ledger.disk.struck() == 0 {
        ledger.write(&db, 20).await;
        look().await?;
        env::sleep(Duration::from_millis(50)).await; // time to fold the log
    }
    for _ in 0..10 {
        look().await?;
        if ledger.entry(&db).await.is_ok() {
            return ledger.audit(&db).await;
        }
        env::sleep(Duration::from_secs(1)).await;
    }
    Err("it does not work again".to_owned())
}

#[test]
fn a_database_works_again_after_a_failed_sync_whoever_looks_into_it() {
    holds(one_failed_sync_seen_by_another);
}

#[test]
fn g2_syncs_that_fail_again_and_again_lose_nothing() {
    let failing = Faults {
        sync_fails: Odds::OneIn(12),
        ..Faults::default()
    };
    holds(|ledger| outages(ledger, failing.clone()));
}

async fn full_disk(ledger: Ledger) -> Result<(), String> {
    let db = ledger.open().await.map_err(said)?;
    ledger.write(&db, 5).await;
    ledger.disk.set_faults(Faults {
        capacity: Some(ledger.disk.used() + u64::from(ledger.chance(60_000))),
        ..Faults::default()
    });
    let mut failures = 0;
    while failures < 5 {
        if let Err(error) = ledger.entry(&db).await {
            failures += 1;
            let is_clear = match &error {
                Error::NotCommitted { .. } => true,
                Error::Statement { kind, .. } => *kind == Kind::Storage,
                _ => false,
            };
            let waits = error.is_retryable() && !error.is_conflict();
            assert!(is_clear && waits, "{}", said(error));
        }
        ledger.audit(&db).await?; // reads go on
        env::sleep(Duration::from_millis(ledger.chance(40).into())).await;
    }
    ledger.disk.set_faults(Faults::default());
    ledger.entry(&db).await.map_err(said)?;
    ledger.audit(&db).await?;
    ledger.disk.power_loss();
    drop(db);
    ledger.audit(&ledger.open().await.map_err(said)?).await
}

#[test]
fn a_full_disk_refuses_to_write_goes_on_reading_and_recovers_when_there_is_room() {
    holds(full_disk);
}

async fn unreadable(ledger: Ledger) -> Result<(), String> {
    let db = ledger.open().await.map_err(said)?;
    ledger.write(&db, 10).await;
    ledger.disk.set_faults(Faults {
        read_fails: Odds::Always,
        ..Faults::default()
    });
    // A second pool has nothing in its cache.
    let beside = ledger.open().await.expect_err("nothing can be read");
    assert!(said(&beside).contains("disk I/O error"), "{}", said(beside));
    ledger.write(&db, 2).await;
    ledger.disk.set_faults(Faults::default());
    ledger.audit(&db).await
}

#[test]
fn a_disk_that_cannot_be_read_says_so_and_recovers() {
    holds(unreadable);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_named_with_what_to_do() {
    for at in [0, 100] {
        let ledger = Ledger::new(1);
        drop(ledger.open().await.expect("a database"));
        ledger.disk.damage("ledger.sqlite", at, &[0x42; 64]);
        let error = ledger.open().await.expect_err("damaged");
        let text = said(&error);
        assert!(matches!(error, Error::Damaged { .. }), "{text}");
        assert!(
            text.contains("ledger.sqlite is damaged: restore it from a backup"),
            "{text}"
        );
    }
}

/// Overwrites the same few pages: what grows is the log.
async fn rewrite(db: &data::Database, times: usize) -> data::Result<()> {
    for number in 0..times {
        let filler = format!("{number:04}").repeat(25_000); // another: SQLite writes what differs
        let mut tx = db.begin().await?;
        let sql = "INSERT INTO parts VALUES (0, 0, $1) ON CONFLICT DO UPDATE SET filler = excluded.filler";
        tx.execute(sql, data::params![filler]).await?;
        tx.commit().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_log_is_folded_when_nobody_writes() {
    let ledger = Ledger::new(1);
    let db = ledger.open().await.expect("a database");
    rewrite(&db, 20).await.expect("written");
    let before = ledger.disk.used();
    env::sleep(Duration::from_secs(1)).await;
    assert!(ledger.disk.used() > before, "the file has not grown");
    rewrite(&db, 20).await.expect("written");
    assert!(
        ledger.disk.used() < before + 500_000,
        "the log did not begin anew"
    );
}

#[tokio::test] // on the real clock: paused, it would stand still while somebody writes
async fn the_log_stays_bounded_when_somebody_always_writes() {
    const MIB: u64 = 1024 * 1024;
    let ledger = Ledger::new(1);
    let db = ledger.open().await.expect("a database");
    let mut most = 0;
    for _ in 0..40 {
        rewrite(&db, 20).await.expect("written");
        most = most.max(ledger.disk.used() / MIB);
    }
    assert!((4..16).contains(&most), "{most} MiB"); // 80 were written
}
