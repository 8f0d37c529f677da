//! G1 and G2 on disks that lose power, lie, fail and fill up.

#[path = "disk/ledger.rs"]
mod ledger;

use ledger::{Ledger, said};
use outrigger_testkit::disk::{Faults, Odds};

const SEEDS: std::ops::Range<u64> = 0..100;

/// Runs `life` for each seed; the seeds and what was found wrong.
fn wrong<F: Future<Output = Result<(), String>>>(life: impl Fn(Ledger) -> F) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
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
    for _ in 0..4 {
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
    assert!(found.len() > 50, "{found:#?}");
}
