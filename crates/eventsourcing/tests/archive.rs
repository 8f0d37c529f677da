//! Archived streams are out of the way, closed, still readable, and in the order of all events.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod bank;

use bank::{Account, AccountEvent, Bank};
use outrigger_eventsourcing::{Append, Error, Expected, Recorded};

on_each_engine!(
    an_archived_stream_is_closed_and_still_readable,
    readers_of_all_events_see_it_where_it_was,
    an_archive_expects_a_version_like_an_append,
    of_an_append_and_an_archive_at_the_same_time_one_succeeds,
);

async fn archive(bank: &Bank, id: &str, expected: Expected) -> Result<(), Error> {
    bank.db
        .transaction(async |mut tx| tx.archive::<Account>(id, expected).await)
        .await
}

fn amounts(events: &[Recorded]) -> Vec<i64> {
    let amount = |event: &Recorded| match event.read::<Account>().expect("read") {
        Some(AccountEvent::Deposited(amount)) => Some(amount),
        _ => None,
    };
    events.iter().filter_map(amount).collect()
}

async fn an_archived_stream_is_closed_and_still_readable(bank: Bank) {
    for amount in 1..=3 {
        bank.deposit("1", amount).await;
    }
    archive(&bank, "1", Expected::Version(3)).await.unwrap();

    let store = bank.store();
    let closed =
        |error: &Error| matches!(error, Error::Archived { stream } if stream == "account/1");
    assert!(
        store
            .load::<Account>("1")
            .await
            .is_err_and(|error| closed(&error))
    );
    for expected in [Expected::Any, Expected::NoStream, Expected::Version(4)] {
        let refused = bank.append("1", expected, &[AccountEvent::Closed]).await;
        assert!(refused.is_err_and(|error| closed(&error)));
    }
    assert!(
        archive(&bank, "1", Expected::Any)
            .await
            .is_err_and(|error| closed(&error))
    );

    let archived = store.archived::<Account>("1", 2, 10).await.unwrap();
    assert_eq!(amounts(&archived), [2, 3]);
    let left = store.events::<Account>("1", 1, 10).await.unwrap();
    assert!(left.len() == 1 && left[0].is_archived() && left[0].version == 4);
    assert!(left[0].read::<Account>().unwrap().is_none());
}

async fn readers_of_all_events_see_it_where_it_was(bank: Bank) {
    for (id, amount) in [("1", 1), ("2", 2), ("1", 3), ("2", 4)] {
        bank.deposit(id, amount).await;
    }
    let before = bank.all(4).await;
    archive(&bank, "1", Expected::Any).await.unwrap();
    bank.deposit("2", 5).await;
    let after = bank.all(6).await;
    assert_eq!(after[..4], before);
    assert!(after[4].is_archived());
    assert_eq!(amounts(&after), [1, 2, 3, 4, 5]);
    // In pages too, which end in the middle of it.
    let page = bank.store().read_all(before[1].position, 2).await.unwrap();
    assert_eq!(page, before[2..]);
}

async fn an_archive_expects_a_version_like_an_append(bank: Bank) {
    bank.deposit("1", 1).await;
    let refused = archive(&bank, "1", Expected::Version(2)).await;
    assert!(refused.is_err_and(|error| error.is_conflict()));
    archive(&bank, "nobody", Expected::NoStream).await.unwrap();
    assert_eq!(bank.all(1).await.len(), 1);
    let loaded = bank.store().load::<Account>("nobody").await.unwrap();
    assert_eq!(loaded.version, 0);
}

async fn of_an_append_and_an_archive_at_the_same_time_one_succeeds(bank: Bank) {
    for round in 0..20 {
        let id = round.to_string();
        bank.deposit(&id, 1).await;
        let append = bank.append(&id, Expected::Version(1), &[AccountEvent::Deposited(2)]);
        let (appended, archived) = tokio::join!(append, archive(&bank, &id, Expected::Version(1)));
        assert!(
            appended.is_ok() != archived.is_ok(),
            "{appended:?} {archived:?}"
        );
        let events = bank.store().events::<Account>(&id, 1, 10).await.unwrap();
        assert_eq!(events.len(), if appended.is_ok() { 2 } else { 1 });
    }
}
