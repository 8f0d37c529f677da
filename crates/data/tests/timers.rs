//! Durable timers.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use std::time::Duration;

use env::Timestamp;
use fixture::Fixture;
use outrigger_data as data;

use data::{Database, Timer, changes::Woken};
use futures::FutureExt;

on_each_engine!(
    due_timers_are_taken_once_in_order_by_kind,
    a_timer_taken_by_a_transaction_that_rolls_back_fires_again,
    a_timer_is_moved_by_scheduling_it_again_and_cancelled_by_its_id,
    setting_a_timer_wakes_the_loop_that_waits_for_a_later_one,
    nobody_is_woken_for_a_timer_that_is_far_away,
);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

async fn schedule(db: &Database, id: &str, kind: &str, due: i64) {
    let timer = Timer {
        id: id.to_owned(),
        kind: kind.to_owned(),
        due: at(due),
        payload: id.into(),
    };
    let mut tx = db.begin().await.unwrap();
    tx.schedule(timer);
    tx.commit().await.unwrap();
}

/// Finds timers, and takes each as whoever acts on it does.
async fn take(db: &Database, kind: &str, now: i64, limit: u32) -> Vec<String> {
    let due = db.timers_due(kind, at(now), limit).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    for timer in &due {
        assert!(tx.take_timer(&timer.id).await.unwrap());
    }
    tx.commit().await.unwrap();
    due.into_iter().map(|timer| timer.id).collect()
}

async fn due_timers_are_taken_once_in_order_by_kind(fixture: Fixture) {
    let db = fixture.db.clone();
    for (id, kind, due) in [
        ("c", "saga", 30),
        ("a", "saga", 10),
        ("b", "saga", 20),
        ("x", "retry", 5),
    ] {
        schedule(&db, id, kind, due).await;
    }
    assert_eq!(db.next_timer("saga").await.unwrap(), Some(at(10)));
    assert_eq!(db.next_timer("none").await.unwrap(), None);

    assert_eq!(take(&db, "saga", 9, 10).await, Vec::<String>::new());
    assert_eq!(take(&db, "saga", 20, 1).await, ["a"]);
    assert_eq!(take(&db, "saga", 30, 10).await, ["b", "c"]);
    assert_eq!(take(&db, "saga", 99, 10).await, Vec::<String>::new());
    assert_eq!(take(&db, "retry", 99, 10).await, ["x"]);
}

async fn a_timer_taken_by_a_transaction_that_rolls_back_fires_again(fixture: Fixture) {
    let db = fixture.db.clone();
    schedule(&db, "a", "saga", 10).await;
    let mut tx = db.begin().await.unwrap();
    assert!(tx.take_timer("a").await.unwrap());
    drop(tx);
    let timers = db.timers_due("saga", at(10), 10).await.unwrap();
    assert_eq!(timers[0].payload, b"a");
    assert_eq!(take(&db, "saga", 10, 10).await, ["a"]);
}

async fn a_timer_is_moved_by_scheduling_it_again_and_cancelled_by_its_id(fixture: Fixture) {
    let db = fixture.db.clone();
    schedule(&db, "a", "saga", 10).await;
    schedule(&db, "a", "saga", 50).await;
    assert_eq!(db.next_timer("saga").await.unwrap(), Some(at(50)));

    let mut tx = db.begin().await.unwrap();
    tx.cancel_timer("a");
    tx.cancel_timer("a");
    tx.commit().await.unwrap();
    assert_eq!(db.next_timer("saga").await.unwrap(), None);
}

#[tokio::test]
async fn a_timer_that_another_process_acts_on_is_not_waited_for() {
    let fixture = Fixture::on_postgres().await;
    let (one, other) = (
        fixture.db.clone(),
        Database::open(&fixture.url()).await.unwrap(),
    );
    schedule(&one, "a", "saga", 10).await;
    let mut acting = one.begin().await.unwrap();
    assert!(acting.take_timer("a").await.unwrap());
    let mut late = other.begin().await.unwrap();
    let taken = env::timeout(Duration::from_secs(30), late.take_timer("a")).await;
    assert!(!taken.expect("at once, not when the first is done").unwrap());
    drop(late);
    // The first could not do it after all.
    acting.rollback().await.unwrap();
    let mut next = other.begin().await.unwrap();
    assert!(next.take_timer("a").await.unwrap());
    next.commit().await.unwrap();
    assert_eq!(one.next_timer("saga").await.unwrap(), None);
}

async fn setting_a_timer_wakes_the_loop_that_waits_for_a_later_one(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut changes = db.timers_changed();
    let woken = tokio::spawn(async move {
        env::timeout(Duration::from_secs(60), changes.wait())
            .await
            .is_ok()
    });
    schedule(&db, "a", "saga", 10).await;
    assert!(woken.await.unwrap());
}

async fn nobody_is_woken_for_a_timer_that_is_far_away(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut changes = db.timers_changed();
    let now = env::now().as_second();
    schedule(&db, "a", "saga", now + 600).await;
    assert_eq!(changes.wait().now_or_never(), None);
    schedule(&db, "b", "saga", now + 1).await;
    assert_eq!(changes.wait().await, Woken::Here);
}
