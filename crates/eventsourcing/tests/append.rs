//! Appends of a store, which go together when they come together, each as if it were alone.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod bank;

use std::collections::BTreeSet;

use bank::{Account, AccountEvent, Bank};
use futures::{FutureExt, future::join_all};
use outrigger_eventsourcing::{Append, Error, Expected, Result, Store, Version};

on_each_engine!(
    appends_that_come_together_get_versions_without_gaps_in_their_order,
    appends_that_wait_are_committed_in_one_transaction,
    g6_streams_a_loser_of_a_version_conflict_never_fails_those_it_is_committed_with,
    what_the_database_cannot_store_fails_alone,
    who_is_cancelled_takes_nobody_with_them,
    an_archived_stream_refuses_and_its_neighbours_go_on,
    g6_streams_a_wrong_expectation_writes_nothing_wherever_the_stream_ends,
    an_archived_stream_refuses_whatever_is_expected_of_it,
);

async fn deposit(store: &Store, id: &str, expected: Expected, amount: i64) -> Result<Version> {
    let deposit = [AccountEvent::Deposited(amount)];
    store.append::<Account>(id, expected, &deposit).await
}

async fn balance(store: &Store, id: &str) -> (Version, i64) {
    let account = store.load::<Account>(id).await.unwrap();
    (account.version, account.state.balance)
}

async fn appends_that_come_together_get_versions_without_gaps_in_their_order(bank: Bank) {
    let store = bank.store();
    let appends = (1..=40).map(|amount| deposit(&store, "1", Expected::Any, amount));
    let versions = join_all(appends).await;
    let versions: Vec<_> = versions.into_iter().map(Result::unwrap).collect();
    assert_eq!(versions, (1..=40).collect::<Vec<_>>());
    assert_eq!(balance(&store, "1").await, (40, 40 * 41 / 2));
    let order: Vec<_> = bank
        .all(40)
        .await
        .iter()
        .map(|event| event.version)
        .collect();
    assert_eq!(order, versions);
}

async fn appends_that_wait_are_committed_in_one_transaction(bank: Bank) {
    if !bank.is_postgres() {
        return; // its positions do not name transactions
    }
    let store = bank.store();
    let ids: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    let appends = ids
        .iter()
        .map(|id| deposit(&store, id, Expected::NoStream, 1));
    for version in join_all(appends).await {
        assert_eq!(version.unwrap(), 1);
    }
    let events = bank.all(200).await;
    let transactions: BTreeSet<_> = events
        .iter()
        .map(|event| {
            let position = event.position.to_string();
            position.split('.').next().unwrap_or_default().to_owned()
        })
        .collect();
    assert!(transactions.len() <= 10, "{} of 200", transactions.len());
}

async fn g6_streams_a_loser_of_a_version_conflict_never_fails_those_it_is_committed_with(
    bank: Bank,
) {
    const ROUNDS: u64 = 10;
    const WRITERS: u64 = 24;
    // Two stores of one database meet in it, as two processes do.
    let stores = [bank.store(), bank.store()];
    for round in 0..ROUNDS {
        // Of three writers, two want the same version of one stream, and one has a stream of its own.
        let writer = async |number: u64| {
            let id = match number % 3 {
                0 => format!("own-{number}"),
                _ => format!("shared-{}", number / 3),
            };
            let store = &stores[usize::from(number.is_multiple_of(2))];
            deposit(store, &id, Expected::Version(round), 1).await
        };
        let outcomes = join_all((0..WRITERS).map(writer)).await;
        let mut conflicts = 0;
        for (number, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
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
        assert_eq!(conflicts, WRITERS / 3, "in round {round}");
    }
}

async fn what_the_database_cannot_store_fails_alone(bank: Bank) {
    let store = bank.store();
    let ids = ["1", "a text with \0 in it", "2"];
    let appends = ids.map(|id| deposit(&store, id, Expected::NoStream, 5));
    let outcomes = join_all(appends).await;
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    // PostgreSQL has no place for this character.
    assert_eq!(
        matches!(&outcomes[1], Err(Error::Database(_))),
        bank.is_postgres(),
        "{outcomes:?}"
    );
    assert_eq!(balance(&store, "1").await, (1, 5));
    assert_eq!(balance(&store, "2").await, (1, 5));
}

async fn who_is_cancelled_takes_nobody_with_them(bank: Bank) {
    let store = bank.store();
    // Asked once, which puts it into the queue before all others, and never again.
    let first = deposit(&store, "1", Expected::NoStream, 1).now_or_never();
    assert!(first.is_none());
    let others = ["2", "3"].map(|id| deposit(&store, id, Expected::NoStream, 2));
    for outcome in join_all(others).await {
        assert_eq!(outcome.unwrap(), 1);
    }
    assert!(balance(&store, "1").await.0 <= 1);
}

async fn an_archived_stream_refuses_and_its_neighbours_go_on(bank: Bank) {
    bank.deposit("1", 1).await;
    let mut tx = bank.db.begin().await.unwrap();
    tx.archive::<Account>("1", Expected::Version(1))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let store = bank.store();
    let both = ["1", "2"].map(|id| deposit(&store, id, Expected::Any, 3));
    let [archived, open] = join_all(both).await.try_into().unwrap();
    assert!(
        matches!(archived, Err(Error::Archived { .. })),
        "{archived:?}"
    );
    assert_eq!(open.unwrap(), 1);
}

async fn g6_streams_a_wrong_expectation_writes_nothing_wherever_the_stream_ends(bank: Bank) {
    let store = bank.store();
    for version in [0, 1] {
        let expected = Expected::Version(version);
        deposit(&store, "1", expected, 1).await.unwrap();
    }
    // Of the two events of the second, one has a place that is taken, and the other one that is free.
    let both = [AccountEvent::Deposited(5), AccountEvent::Deposited(6)];
    for wrong in [0, 1, 3, 5].map(Expected::Version) {
        let error = store
            .append::<Account>("1", wrong, &both)
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::VersionConflict { actual: 2, .. }),
            "{wrong}: {error:?}"
        );
        assert_eq!(balance(&store, "1").await, (2, 2));
    }
    let nothing = store
        .append::<Account>("1", Expected::Version(1), &[])
        .await;
    assert!(nothing.unwrap_err().is_conflict());
    deposit(&store, "1", Expected::Version(2), 1).await.unwrap();
}

async fn an_archived_stream_refuses_whatever_is_expected_of_it(bank: Bank) {
    bank.deposit("1", 1).await;
    bank.deposit("1", 1).await;
    let mut tx = bank.db.begin().await.unwrap();
    tx.archive::<Account>("1", Expected::Any).await.unwrap();
    tx.commit().await.unwrap();
    let store = bank.store();
    for version in 0..=4 {
        let refused = deposit(&store, "1", Expected::Version(version), 1).await;
        assert!(
            matches!(refused, Err(Error::Archived { .. })),
            "{version}: {refused:?}"
        );
    }
}
