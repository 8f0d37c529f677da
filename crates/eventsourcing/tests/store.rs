//! Streams: versions, conflicts, positions, and what cannot be read.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod bank;

use std::{sync::Arc, time::Duration};

use bank::{Account, AccountEvent, Bank};
use data::params;
use env::RequestContext;
use outrigger_eventsourcing::{
    Aggregate, Append, Error, Expected, Position, Recorded, Store, aggregate,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

on_each_engine!(
    what_was_appended_is_what_is_read,
    a_stream_that_is_not_there_has_version_0,
    a_conflict_names_both_versions_and_leaves_the_transaction_whole,
    metadata_says_what_an_event_is_part_of,
    an_event_of_an_unknown_type_is_an_error_that_names_it,
    an_event_that_does_not_name_its_type_is_refused,
    a_lost_event_is_an_error,
    a_long_stream_is_read_whole,
    g6_streams_of_many_appends_that_expect_the_same_version_one_succeeds,
);

fn opened(owner: &str) -> AccountEvent {
    AccountEvent::Opened {
        owner: owner.to_owned(),
    }
}

async fn what_was_appended_is_what_is_read(bank: Bank) {
    let events = [
        opened("Ada"),
        AccountEvent::Deposited(7),
        AccountEvent::Noted(None),
        AccountEvent::Noted(Some("\"type\": {".to_owned())),
        AccountEvent::Closed,
    ];
    let version = bank.append("1/2", Expected::NoStream, &events).await;
    assert_eq!(version.unwrap(), 5);
    bank.append("other", Expected::Any, &[opened("Bea")])
        .await
        .unwrap();

    let store = Store::new(bank.db.clone());
    let account = store.load::<Account>("1/2").await.unwrap();
    assert_eq!(account.version, 5);
    let state = Account {
        owner: Some("Ada".to_owned()),
        balance: 7,
        closed: true,
    };
    assert_eq!(account.state, state);

    let recorded = store.events::<Account>("1/2", 2, 3).await.unwrap();
    let read = |event: &Recorded| event.read::<Account>().unwrap().unwrap();
    assert_eq!(recorded.iter().map(read).collect::<Vec<_>>(), events[1..4]);
    assert_eq!((recorded[0].kind(), recorded[0].id()), ("account", "1/2"));
    assert_eq!((recorded[0].version, recorded[0].schema), (2, 1));
}

async fn a_stream_that_is_not_there_has_version_0(bank: Bank) {
    let account = Store::new(bank.db).load::<Account>("1").await.unwrap();
    assert_eq!((account.version, account.state), (0, Account::default()));
}

async fn a_conflict_names_both_versions_and_leaves_the_transaction_whole(bank: Bank) {
    bank.append(
        "1",
        Expected::NoStream,
        &[opened("Ada"), AccountEvent::Closed],
    )
    .await
    .unwrap();
    let mut tx = bank.db.begin().await.unwrap();
    for expected in [
        Expected::NoStream,
        Expected::Version(1),
        Expected::Version(3),
    ] {
        let conflict = tx
            .append::<Account>("1", expected, &[AccountEvent::Deposited(1)])
            .await;
        match conflict {
            Err(error @ Error::VersionConflict { actual: 2, .. }) => {
                assert!(error.is_conflict() && error.is_retryable());
                assert_eq!(
                    error.to_string(),
                    format!("account/1 is at version 2, not {expected}")
                );
            }
            other => panic!("{other:?}"),
        }
    }
    let seen = tx.load::<Account>("1").await.unwrap();
    tx.append::<Account>(
        "1",
        Expected::Version(seen.version),
        &[AccountEvent::Deposited(1)],
    )
    .await
    .unwrap();
    let seen = tx.load::<Account>("1").await.unwrap();
    assert_eq!((seen.version, seen.state.balance), (3, 1), "its own writes");
    tx.commit().await.unwrap();
    let all = bank.all(3).await;
    let versions: Vec<_> = all.iter().map(|event| event.version).collect();
    assert_eq!(versions, [1, 2, 3], "the conflicts wrote nothing");
}

async fn metadata_says_what_an_event_is_part_of(bank: Bank) {
    let context = RequestContext::correlated("order-7").caused_by("event-3");
    context.scope(bank.deposit("1", 5)).await;
    let event = &bank.all(1).await[0];
    assert_eq!(event.metadata.correlation_id.as_deref(), Some("order-7"));
    assert_eq!(event.metadata.causation_id.as_deref(), Some("event-3"));
}

async fn an_event_of_an_unknown_type_is_an_error_that_names_it(bank: Bank) {
    #[derive(Debug, Default)]
    struct Older;
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "type", content = "data")]
    enum OlderEvent {
        Opened { owner: String },
    }
    impl Aggregate for Older {
        const KIND: &'static str = "account";
        type Event = OlderEvent;
        fn apply(&mut self, _: &OlderEvent) {}
    }

    bank.append(
        "1",
        Expected::NoStream,
        &[opened("Ada"), AccountEvent::Closed],
    )
    .await
    .unwrap();
    let store = bank.store();
    let error = store.load::<Older>("1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "event 2 of account/1 has the type `Closed` (schema version 1), which this code cannot read"
    );
    let events = bank.all(2).await;
    assert!(events[0].read::<Older>().unwrap().is_some());
    assert!(matches!(
        events[1].read::<Older>(),
        Err(Error::Unreadable { .. })
    ));
}

async fn an_event_that_does_not_name_its_type_is_refused(bank: Bank) {
    #[derive(Default)]
    struct Plain;
    impl Aggregate for Plain {
        const KIND: &'static str = "plain";
        type Event = Vec<u8>;
        fn apply(&mut self, _: &Vec<u8>) {}
    }
    let mut tx = bank.db.begin().await.unwrap();
    let refused = tx.append::<Plain>("1", Expected::Any, &[vec![1]]).await;
    assert!(
        matches!(refused, Err(Error::Untagged { .. })),
        "{refused:?}"
    );
}

async fn a_lost_event_is_an_error(bank: Bank) {
    for _ in 0..3 {
        bank.deposit("1", 1).await;
    }
    let mut tx = bank.db.begin().await.unwrap();
    tx.execute(
        "DELETE FROM outrigger_events WHERE version = $1",
        params![2],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let lost = Store::new(bank.db).load::<Account>("1").await;
    assert!(
        matches!(
            lost,
            Err(Error::Gap {
                expected: 2,
                found: 3,
                ..
            })
        ),
        "{lost:?}"
    );
}

async fn a_long_stream_is_read_whole(bank: Bank) {
    let many = vec![AccountEvent::Deposited(1); 1000];
    for _ in 0..2 {
        bank.append("1", Expected::Any, &many).await.unwrap();
    }
    let account = Store::new(bank.db).load::<Account>("1").await.unwrap();
    assert_eq!((account.version, account.state.balance), (2000, 2000));
    assert_eq!(aggregate::stream::<Account>("1"), "account/1");
}

async fn g6_streams_of_many_appends_that_expect_the_same_version_one_succeeds(bank: Bank) {
    const ROUNDS: u64 = 20;
    const WRITERS: i64 = 16;
    let bank = Arc::new(bank);
    for round in 0..ROUNDS {
        let append = |writer: i64| {
            let bank = Arc::clone(&bank);
            let expected = Expected::Version(round);
            tokio::spawn(async move {
                bank.append("1", expected, &[AccountEvent::Deposited(writer)])
                    .await
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(append).collect();
        let mut succeeded = 0;
        for writer in writers {
            match writer.await.unwrap() {
                Ok(version) => {
                    assert_eq!(version, round + 1);
                    succeeded += 1;
                }
                Err(error) => assert!(error.is_conflict(), "{error:?}"),
            }
        }
        assert_eq!(succeeded, 1);
    }
    let account = Store::new(bank.db.clone()).load::<Account>("1").await;
    assert_eq!(account.unwrap().version, ROUNDS);
}

/// What one writer does: to which stream, how many events, and whether it commits in the end.
type Write = (u8, usize, bool);

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn g6_streams_catch_up_skips_nothing_and_versions_have_no_gaps_on_sqlite(writes in writes()) {
        runtime().block_on(async { catch_up(Bank::sqlite().await, writes).await });
    }
}

proptest! {
    // Each makes a database.
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn g6_streams_catch_up_skips_nothing_and_versions_have_no_gaps_on_postgres(writes in writes()) {
        runtime().block_on(async { catch_up(Bank::postgres().await, writes).await });
    }
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    prop::collection::vec((0..4_u8, 0..4_usize, prop::bool::weighted(0.7)), 1..40)
}

fn runtime() -> Runtime {
    let runtime = Builder::new_multi_thread()
        .worker_threads(3)
        .enable_all()
        .build();
    runtime.expect("a runtime")
}

/// Writes all at once, while a reader follows.
async fn catch_up(bank: Bank, writes: Vec<Write>) {
    let bank = Arc::new(bank);
    let total: usize = writes
        .iter()
        .filter(|(.., commits)| *commits)
        .map(|(_, count, _)| count)
        .sum();
    let writers: Vec<_> = writes
        .into_iter()
        .map(|write| tokio::spawn(write_one(Arc::clone(&bank), write)))
        .collect();

    let store = bank.store();
    let mut seen: Vec<Recorded> = Vec::new();
    let follow = async {
        while seen.len() < total {
            let after = seen.last().map_or(Position::START, |event| event.position);
            seen.extend(store.read_all(after, 3).await.expect("done"));
            tokio::task::yield_now().await;
        }
    };
    let followed = env::timeout(Duration::from_mins(1), follow).await;
    followed.expect("the follower sees all that there is");
    for writer in writers {
        writer.await.expect("done");
    }
    let all = bank.all(total).await;
    assert_eq!(seen, all, "the follower saw what there is");
    assert_eq!(seen.len(), total);
    assert!(seen.is_sorted_by(|one, next| one.position < next.position));
    for stream in 0..4 {
        let id = stream.to_string();
        let versions = seen.iter().filter(|event| event.id() == id);
        let versions: Vec<u64> = versions.map(|event| event.version).collect();
        assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>());
    }
}

/// What another transaction has met is written again, as everybody does it.
async fn write_one(bank: Arc<Bank>, (stream, count, commits): Write) {
    let events = vec![AccountEvent::Deposited(1); count];
    let written = bank.db.transaction(async |mut tx| {
        tx.append::<Account>(&stream.to_string(), Expected::Any, &events)
            .await?;
        match commits {
            true => Ok(()),
            false => Err(Undone::OnPurpose),
        }
    });
    match written.await {
        Ok(()) | Err(Undone::OnPurpose) => {}
        Err(Undone::Failed(error)) => panic!("{error:?}"),
    }
}

/// Why a transaction was rolled back.
enum Undone {
    OnPurpose,
    Failed(Error),
}

impl From<Error> for Undone {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<data::Error> for Undone {
    fn from(error: data::Error) -> Self {
        Self::Failed(error.into())
    }
}
