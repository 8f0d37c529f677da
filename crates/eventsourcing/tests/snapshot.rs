//! Snapshots change the speed of loads, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod bank;

use bank::Bank;
use data::params;
use outrigger_eventsourcing::{Aggregate, Append, Expected, Loaded, Snapshots, Store, Version};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

on_each_engine!(
    a_snapshot_is_written_when_it_is_worth_it,
    a_snapshot_that_cannot_be_trusted_is_ignored_and_written_again,
);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum Change {
    Added(i64),
    Doubled,
}

/// The same aggregate three times: without snapshots, with them, and with them in a later form.
macro_rules! sum {
    ($name:ident, $snapshots:expr, { $($field:ident: $type:ty),* }) => {
        #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
        struct $name {
            sum: i64,
            $($field: $type),*
        }

        impl Aggregate for $name {
            const KIND: &'static str = "sum";
            const SNAPSHOTS: Option<Snapshots<Self>> = $snapshots;
            type Event = Change;

            fn apply(&mut self, event: &Change) {
                self.sum = match event {
                    Change::Added(amount) => self.sum.wrapping_add(*amount),
                    Change::Doubled => self.sum.wrapping_mul(2),
                };
            }
        }
    };
}

sum!(Plain, None, {});
sum!(Quick, Some(Snapshots::every(5)), {});
// Its snapshots would be read as those of `Quick`, were it not for their version: the field has a default.
sum!(Later, Some(Snapshots::every(5).schema(2)), { extra: Option<i64> });

async fn load<A: Aggregate>(bank: &Bank) -> Loaded<A> {
    let mut tx = bank.db.begin().await.expect("begun");
    let loaded = tx.load::<A>("1").await.expect("loaded");
    tx.commit().await.expect("committed");
    loaded
}

async fn append(bank: &Bank, events: &[Change]) {
    let mut tx = bank.db.begin().await.expect("begun");
    tx.append::<Plain>("1", Expected::Any, events)
        .await
        .expect("appended");
    tx.commit().await.expect("committed");
}

async fn snapshot(bank: &Bank) -> Option<(Version, u32)> {
    let find = "SELECT version, schema_version FROM outrigger_snapshots";
    let row = bank.db.query_one(find, params![]).await.expect("read");
    row.map(|row| (row.get(0).expect("read"), row.get(1).expect("read")))
}

async fn execute(bank: &Bank, sql: &str) {
    let mut tx = bank.db.begin().await.expect("begun");
    tx.execute(sql, params![]).await.expect("done");
    tx.commit().await.expect("committed");
}

async fn a_snapshot_is_written_when_it_is_worth_it(bank: Bank) {
    append(
        &bank,
        &[
            Change::Added(1),
            Change::Added(2),
            Change::Added(3),
            Change::Doubled,
        ],
    )
    .await;
    load::<Quick>(&bank).await;
    assert_eq!(snapshot(&bank).await, None, "four are fewer than five");
    append(&bank, &[Change::Added(1)]).await;
    assert_eq!(load::<Plain>(&bank).await.state.sum, 13);
    assert_eq!(snapshot(&bank).await, None, "not asked for");
    assert_eq!(load::<Quick>(&bank).await.state.sum, 13);
    assert_eq!(snapshot(&bank).await, Some((5, 1)));
    append(&bank, &[Change::Doubled]).await;
    assert_eq!(load::<Quick>(&bank).await.state.sum, 26);
    assert_eq!(
        snapshot(&bank).await,
        Some((5, 1)),
        "one event is fewer than five"
    );
    // It is used indeed.
    execute(
        &bank,
        "UPDATE outrigger_snapshots SET state = '{\"sum\": 100}'",
    )
    .await;
    let loaded = Store::new(bank.db.clone())
        .load::<Quick>("1")
        .await
        .unwrap();
    assert_eq!((loaded.state.sum, loaded.version), (200, 6));
}

async fn a_snapshot_that_cannot_be_trusted_is_ignored_and_written_again(bank: Bank) {
    append(&bank, &vec![Change::Added(1); 7]).await;
    for damage in [
        "UPDATE outrigger_snapshots SET state = 'not JSON'",
        "UPDATE outrigger_snapshots SET state = '{\"sum\": \"many\"}'",
        "UPDATE outrigger_snapshots SET state = '{\"sum\": 70}', schema_version = 9",
        "UPDATE outrigger_snapshots SET state = '{\"sum\": 70}', version = 70",
    ] {
        load::<Quick>(&bank).await;
        execute(&bank, damage).await;
        assert_eq!(load::<Quick>(&bank).await.state.sum, 7, "{damage}");
        assert_eq!(snapshot(&bank).await, Some((7, 1)), "{damage}");
    }
    assert_eq!(load::<Later>(&bank).await.state.sum, 7);
    assert_eq!(snapshot(&bank).await, Some((7, 2)));
    assert_eq!(load::<Quick>(&bank).await.state.sum, 7);
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![any::<i64>().prop_map(Change::Added), Just(Change::Doubled)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_load_with_snapshots_equals_one_without(
        steps in prop::collection::vec(prop::collection::vec(change(), 0..12), 1..12)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let bank = Bank::sqlite().await;
            for (number, events) in steps.iter().enumerate() {
                append(&bank, events).await;
                let plain = load::<Plain>(&bank).await;
                // By turns, so that each finds snapshots of the other.
                let quick = if number % 3 == 2 {
                    let later = load::<Later>(&bank).await;
                    (later.state.sum, later.version)
                } else {
                    let quick = load::<Quick>(&bank).await;
                    (quick.state.sum, quick.version)
                };
                assert_eq!((plain.state.sum, plain.version), quick);
            }
        });
    }
}
