//! A request with a key takes effect once.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use std::time::Duration;

use fixture::{Fixture, entries, insert};
use outrigger_data as data;

use data::{
    Database,
    idempotency::{Answer, Claim, Claimed, Decided, Request},
};

on_each_engine!(
    g3_once_of_many_claims_at_the_same_time_one_is_made,
    g3_once_the_first_answer_is_everybodys,
    g3_once_a_lease_that_is_over_is_taken_and_its_holder_writes_no_more,
    g3_once_a_decision_commits_with_its_effects_and_the_next_run_finds_it,
    g3_once_the_key_of_another_request_is_refused,
    a_request_with_a_long_lease_is_renewed_and_released,
    a_key_counts_for_nothing_when_its_time_is_over,
    whoever_waits_is_woken_by_the_answer,
    pruning_forgets_what_is_old_and_not_being_handled,
);

const LONG: Duration = Duration::from_secs(3600);
/// A lease that is over at once: its holder might as well be dead.
const OVER: Duration = Duration::ZERO;

fn request(key: &str) -> Request {
    Request {
        scope: "ada".to_owned(),
        key: key.to_owned(),
        fingerprint: "of the first".to_owned(),
    }
}

async fn claim(db: &Database, lease: Duration) -> Claimed {
    db.claim(&request("k"), lease, LONG).await.unwrap()
}

async fn mine(db: &Database, lease: Duration) -> Claim {
    match claim(db, lease).await {
        Claimed::Mine(claim) => claim,
        other => panic!("it should be free: {other:?}"),
    }
}

fn answer(body: &str) -> Answer {
    Answer {
        head: "200".to_owned(),
        body: body.into(),
    }
}

async fn g3_once_of_many_claims_at_the_same_time_one_is_made(fixture: Fixture) {
    let claims = (0..20).map(|_| {
        let db = fixture.db.clone();
        tokio::spawn(async move { claim(&db, LONG).await })
    });
    let mut made = 0;
    for claim in claims.collect::<Vec<_>>() {
        match claim.await.unwrap() {
            Claimed::Mine(_) => made += 1,
            Claimed::Theirs => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(made, 1);
}

async fn g3_once_the_first_answer_is_everybodys(fixture: Fixture) {
    let db = &fixture.db;
    let first = mine(db, LONG).await;
    assert!(first.answer(db, &answer("one")).await.unwrap());
    assert!(!first.answer(db, &answer("two")).await.unwrap());
    for _ in 0..2 {
        let Claimed::Answered(given) = claim(db, LONG).await else {
            panic!("it was answered")
        };
        assert_eq!(given, answer("one"));
    }
    let other = Request {
        scope: "grace".to_owned(),
        ..request("k")
    };
    let claimed = db.claim(&other, LONG, LONG).await.unwrap();
    assert!(matches!(claimed, Claimed::Mine(_)), "{claimed:?}");
}

async fn g3_once_a_lease_that_is_over_is_taken_and_its_holder_writes_no_more(fixture: Fixture) {
    let db = &fixture.db;
    let slow = mine(db, OVER).await;
    let fast = mine(db, LONG).await;
    assert!(!slow.renew(db, LONG).await.unwrap());
    assert!(!slow.release(db).await.unwrap());
    assert!(!slow.answer(db, &answer("slow")).await.unwrap());

    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, 1).await.unwrap();
    let decided = slow.decide(&mut tx, "slow").await.unwrap();
    assert_eq!(decided, Decided::Overtaken);
    tx.rollback().await.unwrap();

    assert_eq!(fast.decision(db).await.unwrap(), None);
    assert!(matches!(claim(db, LONG).await, Claimed::Theirs));
    assert!(fast.answer(db, &answer("fast")).await.unwrap());
}

async fn g3_once_a_decision_commits_with_its_effects_and_the_next_run_finds_it(fixture: Fixture) {
    let db = &fixture.db;
    let undone = mine(db, OVER).await;
    let mut tx = db.begin().await.unwrap();
    assert_eq!(undone.decide(&mut tx, "1").await.unwrap(), Decided::Now);
    insert(&mut tx, 1).await.unwrap();
    drop(tx);

    let crashed = mine(db, OVER).await;
    assert_eq!(crashed.decision(db).await.unwrap(), None);
    let mut tx = db.begin().await.unwrap();
    assert_eq!(crashed.decide(&mut tx, "2").await.unwrap(), Decided::Now);
    insert(&mut tx, 2).await.unwrap();
    tx.commit().await.unwrap();

    let next = mine(db, LONG).await;
    assert_eq!(next.decision(db).await.unwrap().as_deref(), Some("2"));
    let mut tx = db.begin().await.unwrap();
    assert_eq!(next.decide(&mut tx, "3").await.unwrap(), Decided::Before);
    tx.rollback().await.unwrap();
    assert_eq!(entries(db).await, [2]);
}

async fn g3_once_the_key_of_another_request_is_refused(fixture: Fixture) {
    let db = &fixture.db;
    let first = mine(db, LONG).await;
    let other = Request {
        fingerprint: "of another".to_owned(),
        ..request("k")
    };
    let claimed = db.claim(&other, LONG, LONG).await.unwrap();
    assert!(matches!(claimed, Claimed::Other), "{claimed:?}");
    first.answer(db, &answer("one")).await.unwrap();
    let claimed = db.claim(&other, LONG, LONG).await.unwrap();
    assert!(matches!(claimed, Claimed::Other), "{claimed:?}");
}

async fn a_request_with_a_long_lease_is_renewed_and_released(fixture: Fixture) {
    let db = &fixture.db;
    let first = mine(db, OVER).await;
    assert!(first.renew(db, LONG).await.unwrap());
    assert!(matches!(claim(db, LONG).await, Claimed::Theirs));
    assert!(first.release(db).await.unwrap());
    mine(db, LONG).await;
}

async fn a_key_counts_for_nothing_when_its_time_is_over(fixture: Fixture) {
    let db = &fixture.db;
    let first = mine(db, LONG).await;
    let held = db.claim(&request("k"), LONG, Duration::ZERO).await.unwrap();
    assert!(matches!(held, Claimed::Theirs), "{held:?}");

    let mut tx = db.begin().await.unwrap();
    first.decide(&mut tx, "1").await.unwrap();
    tx.commit().await.unwrap();
    first.release(db).await.unwrap();
    let Claimed::Mine(second) = db.claim(&request("k"), LONG, Duration::ZERO).await.unwrap() else {
        panic!("it should count for nothing")
    };
    assert_eq!(second.decision(db).await.unwrap(), None);
}

async fn whoever_waits_is_woken_by_the_answer(fixture: Fixture) {
    let db = &fixture.db;
    let first = mine(db, LONG).await;
    let mut ended = db.claims_ended();
    first.answer(db, &answer("one")).await.unwrap();
    let limit = Duration::from_secs(10);
    env::timeout(limit, ended.wait()).await.expect("woken");
}

async fn pruning_forgets_what_is_old_and_not_being_handled(fixture: Fixture) {
    let db = &fixture.db;
    mine(db, LONG).await;
    let mut tx = db.begin().await.unwrap();
    for id in 0..2500 {
        let row = data::params![id.to_string()];
        let sql = "INSERT INTO outrigger_idempotency (scope, key, fingerprint, holder, held_until, created_at)
                   VALUES ('ada', $1, '', '', 0, 0)";
        tx.execute(sql, row).await.unwrap();
    }
    tx.commit().await.unwrap();

    assert_eq!(db.prune_idempotency(env::now() - LONG).await.unwrap(), 2500);
    assert_eq!(db.prune_idempotency(env::now() + LONG).await.unwrap(), 0);
    assert!(matches!(claim(db, LONG).await, Claimed::Theirs));
}
