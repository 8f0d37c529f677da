//! One leader, another one after it, and none that writes after it was replaced.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use std::time::Duration;

use fixture::{Fixture, entries, insert};
use outrigger_data as data;
use servers::Postgres;

use data::{Database, Error, params};

on_each_engine!(
    one_of_many_leads_and_another_one_when_it_stops,
    matters_are_led_apart,
    a_leader_keeps_leading,
    a_leader_that_was_replaced_cannot_write,
);

/// As another process would open it.
async fn process(fixture: &Fixture) -> Database {
    Database::open(&fixture.url()).await.unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    env::timeout(limit, what).await.expect("it comes to pass")
}

async fn one_of_many_leads_and_another_one_when_it_stops(fixture: Fixture) {
    let (one, two) = (process(&fixture).await, process(&fixture).await);
    let first = one.lead("relay").await.unwrap().unwrap();
    assert!(two.lead("relay").await.unwrap().is_none());
    assert!(one.lead("relay").await.unwrap().is_none());

    let waiting = tokio::spawn(async move { two.lead_in_turn("relay").await.epoch() });
    let epoch = first.epoch();
    drop(first);
    assert!(soon(waiting).await.unwrap() > epoch);
}

async fn matters_are_led_apart(fixture: Fixture) {
    let one = fixture.db.lead("relay").await.unwrap();
    let two = fixture.db.lead("timers").await.unwrap();
    assert!(one.is_some() && two.is_some());
}

async fn a_leader_keeps_leading(fixture: Fixture) {
    let mut leader = fixture.db.lead("relay").await.unwrap().unwrap();
    // Longer than it takes to look whether it still does.
    let lost = env::timeout(Duration::from_secs(2), leader.lost()).await;
    assert!(lost.is_err());
    assert!(
        process(&fixture)
            .await
            .lead("relay")
            .await
            .unwrap()
            .is_none()
    );
    let mut tx = fixture.db.begin().await.unwrap();
    leader.fence(&mut tx).await.unwrap();
    insert(&mut tx, 1).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(entries(&fixture.db).await, [1]);
}

async fn a_leader_that_was_replaced_cannot_write(fixture: Fixture) {
    let stale = fixture.db.lead("relay").await.unwrap().unwrap();
    replace(&fixture).await;

    let mut tx = fixture.db.begin().await.unwrap();
    let error = stale.fence(&mut tx).await.unwrap_err();
    assert!(
        matches!(error, Error::Deposed { epoch, .. } if epoch == stale.epoch()),
        "{error:?}"
    );
    insert(&mut tx, 1).await.unwrap_err();
    assert!(matches!(tx.commit().await.unwrap_err(), Error::Aborted));
}

/// What another process does when it takes over.
async fn replace(fixture: &Fixture) {
    let mut tx = fixture.db.begin().await.unwrap();
    let sql = "UPDATE outrigger_leaders SET epoch = epoch + 1";
    tx.execute(sql, params![]).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn on_postgresql_another_one_takes_over_when_the_connection_of_the_leader_dies() {
    let server = Postgres::start().await.unwrap();
    let (one, two) = (
        Database::open(&server.url()).await.unwrap(),
        Database::open(&server.url()).await.unwrap(),
    );
    let mut stale = one.lead("relay").await.unwrap().unwrap();
    // Amid a transaction that is fenced already: who takes over waits for it.
    let mut begun = one.begin().await.unwrap();
    stale.fence(&mut begun).await.unwrap();

    let waiting = tokio::spawn({
        let two = two.clone();
        async move { two.lead_in_turn("relay").await }
    });
    server
        .sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        .unwrap();
    soon(stale.lost()).await;
    assert!(!waiting.is_finished());
    begun.commit().await.unwrap();

    let leader = soon(waiting).await.unwrap();
    assert!(leader.epoch() > stale.epoch());
    let mut late = one.begin().await.unwrap();
    let error = stale.fence(&mut late).await.unwrap_err();
    assert!(matches!(error, Error::Deposed { .. }), "{error:?}");
}

#[tokio::test]
async fn on_postgresql_somebody_leads_again_after_the_server_was_killed() {
    let mut server = Postgres::start().await.unwrap();
    let db = Database::open(&server.url()).await.unwrap();
    let mut first = db.lead("relay").await.unwrap().unwrap();
    server.kill().await.unwrap();
    soon(first.lost()).await;
    let waiting = tokio::spawn({
        let db = db.clone();
        async move { db.lead_in_turn("relay").await.epoch() }
    });
    server.restart().await.unwrap();
    assert!(soon(waiting).await.unwrap() > first.epoch());
}

#[test]
fn on_sqlite_another_one_takes_over_at_once_when_a_process_has_died() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (dead, alive) = (runtime(), runtime());
    let fixture = dead.block_on(Fixture::new());
    let db = dead.block_on(process(&fixture));
    let (led, leading) = std::sync::mpsc::channel();
    dead.spawn(async move {
        let leader = db.lead("relay").await.unwrap().unwrap();
        led.send(leader.epoch()).unwrap();
        std::future::pending::<()>().await; // and so it is led until the process dies
        drop(leader);
    });
    dead.block_on(fixture::settle());
    let epoch = leading.recv().unwrap();
    let other = alive.block_on(process(&fixture));
    assert!(alive.block_on(other.lead("relay")).unwrap().is_none());
    drop(dead);
    let next = alive.block_on(other.lead("relay")).unwrap();
    assert!(next.expect("nobody leads").epoch() > epoch);
}
