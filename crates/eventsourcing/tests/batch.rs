//! Many events to many streams: all or nothing, and neighbours that know nothing of a loser.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod bank;

use std::sync::Arc;

use bank::{Account, AccountEvent, Bank};
use outrigger_eventsourcing::{Append, Batch, Error, Expected, Result, Store, Version};

on_each_engine!(
    a_batch_is_appended_in_its_order,
    a_conflict_anywhere_in_a_batch_writes_nothing_and_the_transaction_goes_on,
    g6_streams_a_loser_of_a_version_conflict_never_fails_its_neighbours,
);

fn deposits(amounts: &[i64]) -> Vec<AccountEvent> {
    amounts
        .iter()
        .copied()
        .map(AccountEvent::Deposited)
        .collect()
}

async fn append(bank: &Bank, batch: &Batch) -> Result<Vec<Version>> {
    bank.db
        .transaction(async |mut tx| tx.append_batch(batch).await)
        .await
}

async fn balance(bank: &Bank, id: &str) -> (Version, i64) {
    let account = Store::new(bank.db.clone()).load::<Account>(id).await;
    let account = account.expect("loaded");
    (account.version, account.state.balance)
}

async fn a_batch_is_appended_in_its_order(bank: Bank) {
    bank.deposit("2", 1).await;
    let mut batch = Batch::new();
    batch
        .append::<Account>("1", Expected::NoStream, &deposits(&[1, 2]))
        .unwrap()
        .append::<Account>("2", Expected::Version(1), &deposits(&[3]))
        .unwrap()
        .append::<Account>("3", Expected::Any, &[])
        .unwrap()
        .append::<Account>("1", Expected::Version(2), &deposits(&[4]))
        .unwrap();
    assert_eq!(append(&bank, &batch).await.unwrap(), [2, 2, 0, 3]);

    let all = bank.all(5).await;
    let order: Vec<_> = all
        .iter()
        .map(|event| (event.id(), event.version))
        .collect();
    assert_eq!(order, [("2", 1), ("1", 1), ("1", 2), ("2", 2), ("1", 3)]);
    assert_eq!(balance(&bank, "1").await, (3, 7));
    assert!(append(&bank, &Batch::new()).await.unwrap().is_empty());
}

async fn a_conflict_anywhere_in_a_batch_writes_nothing_and_the_transaction_goes_on(bank: Bank) {
    bank.deposit("2", 1).await;
    let mut batch = Batch::new();
    batch
        .append::<Account>("1", Expected::NoStream, &deposits(&[1]))
        .unwrap()
        .append::<Account>("2", Expected::NoStream, &deposits(&[2]))
        .unwrap();
    let mut tx = bank.db.begin().await.unwrap();
    let conflict = tx.append_batch(&batch).await.unwrap_err();
    assert!(
        matches!(&conflict, Error::VersionConflict { stream, actual: 1, .. } if stream == "account/2"),
        "{conflict:?}"
    );
    tx.append::<Account>("2", Expected::Version(1), &deposits(&[5]))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(balance(&bank, "1").await, (0, 0));
    assert_eq!(balance(&bank, "2").await, (2, 6));
}

async fn g6_streams_a_loser_of_a_version_conflict_never_fails_its_neighbours(bank: Bank) {
    const ROUNDS: u64 = 10;
    const WRITERS: u64 = 24;
    let bank = Arc::new(bank);
    for round in 0..ROUNDS {
        // Of three writers, two want the same version of one stream, and one has a stream of its own.
        let writer = |number: u64| {
            let bank = Arc::clone(&bank);
            let (id, expected) = match number % 3 {
                0 => (format!("own-{number}"), round),
                _ => (format!("shared-{}", number / 3), round),
            };
            tokio::spawn(async move {
                let events = deposits(&[1]);
                bank.append(&id, Expected::Version(expected), &events).await
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(writer).collect();
        let mut conflicts = 0;
        for (number, writer) in (0..).zip(writers) {
            match writer.await.unwrap() {
                Ok(version) => assert_eq!(version, round + 1),
                Err(error) => {
                    assert!(
                        error.is_conflict() && number % 3 != 0,
                        "{number}: {error:?}"
                    );
                    conflicts += 1;
                }
            }
        }
        assert_eq!(conflicts, WRITERS / 3);
    }
}
