//! Subscriptions: what there is, then what comes, filtered, at the pace of who reads.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod bank;

use std::time::Duration;

use bank::{Account, AccountEvent, Bank};
use futures::StreamExt;
use outrigger_eventsourcing::{Aggregate, Append, Expected, Position, Recorded, Store};

on_each_engine!(
    it_catches_up_and_goes_on_live,
    it_begins_where_it_is_told,
    what_is_not_wanted_passes_and_the_position_with_it,
);

/// Of another kind, with the same events.
#[derive(Default)]
struct Vault;

impl Aggregate for Vault {
    const KIND: &'static str = "vault";
    type Event = AccountEvent;
    fn apply(&mut self, _: &AccountEvent) {}
}

fn amount(event: &Recorded) -> i64 {
    match event.read::<Account>().expect("read") {
        Some(AccountEvent::Deposited(amount)) => amount,
        other => panic!("{other:?}"),
    }
}

async fn it_catches_up_and_goes_on_live(bank: Bank) {
    for amount in 1..=1200 {
        if amount % 100 == 1 {
            let events: Vec<_> = (amount..amount + 100)
                .map(AccountEvent::Deposited)
                .collect();
            bank.append("1", Expected::Any, &events).await.unwrap();
        }
    }
    let mut events = Store::new(bank.db.clone()).subscribe(Position::START);
    for expected in 1..=1200 {
        assert_eq!(amount(&events.next().await.unwrap()), expected);
    }
    for expected in 1201..=1210 {
        let live = tokio::spawn(async move {
            let next = events.next().await.unwrap();
            (events, next)
        });
        bank.deposit("2", expected).await;
        let woken = env::timeout(Duration::from_secs(30), live).await;
        let next;
        (events, next) = woken.expect("it is not woken").unwrap();
        assert_eq!(amount(&next), expected);
        assert_eq!(events.position(), next.position);
    }
}

async fn it_begins_where_it_is_told(bank: Bank) {
    for amount in 1..=5 {
        bank.deposit("1", amount).await;
    }
    let store = Store::new(bank.db.clone());
    let all = bank.all(5).await;
    let rest = store.subscribe(all[1].position).into_stream().take(3);
    let rest: Vec<_> = rest.map(|event| amount(&event.unwrap())).collect().await;
    assert_eq!(rest, [3, 4, 5]);
}

async fn what_is_not_wanted_passes_and_the_position_with_it(bank: Bank) {
    let mut tx = bank.db.begin().await.unwrap();
    let events = [AccountEvent::Deposited(1), AccountEvent::Closed];
    tx.append::<Vault>("1", Expected::Any, &events)
        .await
        .unwrap();
    tx.append::<Account>("1", Expected::Any, &events)
        .await
        .unwrap();
    tx.append::<Vault>("2", Expected::Any, &events)
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let store = Store::new(bank.db.clone());
    let all = bank.all(6).await;
    let mut vaults = store
        .subscribe(Position::START)
        .kinds(["vault"])
        .types(["Closed"]);
    for expected in [&all[1], &all[5]] {
        assert_eq!(&vaults.next().await.unwrap(), expected);
    }
    let mut none = store.subscribe(Position::START).kinds(["order", "user"]);
    _ = env::timeout(Duration::from_millis(500), none.next()).await;
    assert_eq!(none.position(), all[5].position);
}
