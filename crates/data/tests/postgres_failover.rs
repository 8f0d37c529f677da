//! Servers that are replaced by others, and servers and clients that vanish without a word.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use std::time::Duration;

use fixture::{ENTRIES, Fixture, entries, insert, load::Load, proxy::Proxy};
use outrigger_data as data;
use servers::{Postgres, postgres::Options};

use data::{Database, Error, params};

/// The database `postgres` on several servers of this machine.
fn url(ports: &[u16], query: &str) -> String {
    let hosts: Vec<_> = ports.iter().map(|it| format!("127.0.0.1:{it}")).collect();
    format!("postgres://postgres@{}/postgres?{query}", hosts.join(","))
}

/// A proxy before the server of `fixture`, and where it is.
async fn behind_a_proxy(fixture: &Fixture) -> (Proxy, String) {
    let proxy = Proxy::to(fixture.server_port()).await;
    let far = format!("127.0.0.1:{}", proxy.port());
    (proxy, far)
}

/// The database of `fixture`, by the way of `hosts`.
async fn at(fixture: &Fixture, hosts: &str) -> Database {
    let server = format!("127.0.0.1:{}", fixture.server_port());
    let url = fixture.url().replace(&server, hosts);
    Database::open(&format!("{url}?connect_timeout=1"))
        .await
        .unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    env::timeout(limit, what).await.expect("it comes to pass")
}

/// The standby is named first: whoever took the first host that answers would write nothing at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g1_atomic_writes_go_on_at_the_standby_when_it_is_promoted_and_nothing_is_lost() {
    let mut primary = Postgres::start_with(Options::new().fsync()).await.unwrap();
    let standby = primary.replica().await.unwrap();
    primary.commit_on_a_replica().unwrap();
    let ports = [standby.port(), primary.port()];
    let db = Database::open(&url(&ports, "connect_timeout=2"))
        .await
        .unwrap();
    db.migrate(ENTRIES).await.unwrap();

    let load = Load::on(&db);
    load.goes_on(100).await;
    primary.kill().await.unwrap();
    load.meets_trouble().await;
    standby.promote().unwrap();
    load.goes_on(100).await;
    assert!(load.end().await >= 200);
}

#[tokio::test]
async fn where_there_are_standbys_only_it_is_said_and_waited_for() {
    let primary = Postgres::start().await.unwrap();
    let standby = primary.replica().await.unwrap();
    let error = Database::open(&standby.url()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(env::chain(&error).contains("standby"), "{error:?}");

    let gone = primary.port();
    drop(primary);
    let url = url(&[gone, standby.port()], "");
    let error = Database::open(&url).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let said = env::chain(&error);
    assert!(
        said.contains("standby") && said.contains(&format!("127.0.0.1:{gone}")),
        "of each host: {said}"
    );
}

#[tokio::test]
async fn connections_that_have_gone_silent_are_given_up_all_at_once() {
    let fixture = Fixture::on_postgres().await;
    let (proxy, far) = behind_a_proxy(&fixture).await;
    let hosts = format!("{far},127.0.0.1:{}", fixture.server_port());
    let db = at(&fixture, &hosts).await;
    let busy = futures::future::join_all((0..5).map(|_| async {
        let slow = "SELECT pg_sleep(0.1)";
        db.query(slow, params![]).await.map(drop)
    }));
    for outcome in busy.await {
        outcome.unwrap(); // and so there are five connections
    }
    proxy.cut();
    // Idle for longer than a connection is trusted.
    env::sleep(Duration::from_millis(1500)).await;

    let asked = env::instant();
    db.query("SELECT 1", params![]).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, 1).await.unwrap();
    tx.commit().await.unwrap();
    // One of the five was asked (5 s), and the silent host once more (1 s); not each.
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(entries(&fixture.db).await, [1]);
}

#[tokio::test]
async fn another_one_leads_soon_when_the_leader_has_vanished_without_a_word() {
    let fixture = Fixture::on_postgres().await;
    let (proxy, far) = behind_a_proxy(&fixture).await;
    let vanishing = at(&fixture, &far).await;
    let mut stale = vanishing.lead("relay").await.unwrap().unwrap();
    assert!(fixture.db.lead("relay").await.unwrap().is_none());
    // Longer than the server waits for a leader that is silent: it is none.
    let lost = env::timeout(Duration::from_secs(12), stale.lost()).await;
    assert!(lost.is_err());
    assert!(fixture.db.lead("relay").await.unwrap().is_none());

    proxy.cut();
    let cut = env::instant();
    let (leader, ()) =
        soon(async { tokio::join!(fixture.db.lead_in_turn("relay"), stale.lost()) }).await;
    assert!(leader.epoch() > stale.epoch());
    assert!(
        cut.elapsed() < Duration::from_secs(30),
        "{:?}",
        cut.elapsed()
    );
}

#[tokio::test]
async fn who_waits_to_lead_does_not_connect_for_each_look() {
    let fixture = Fixture::on_postgres().await;
    let (proxy, far) = behind_a_proxy(&fixture).await;
    let waiting = at(&fixture, &far).await;
    let leader = fixture.db.lead("relay").await.unwrap().unwrap();
    let before = proxy.connections();
    let turn = tokio::spawn(async move { waiting.lead_in_turn("relay").await });
    env::sleep(Duration::from_secs(3)).await; // several looks
    assert!(
        proxy.connections() - before <= 2,
        "{} connections",
        proxy.connections() - before
    );
    drop(leader);
    soon(turn).await.unwrap();
}

/// Returns when a commit of `other` wakes who waits on `db`, and not the poll.
async fn woken(db: &Database, other: &Database) {
    let mut changes = db.changes("news");
    let waking = async {
        for id in 0.. {
            let mut tx = other.begin().await.unwrap();
            insert(&mut tx, id).await.unwrap();
            tx.notify("news");
            let committed = env::instant();
            tx.commit().await.unwrap();
            changes.wait().await;
            if committed.elapsed() < Duration::from_millis(500) {
                return;
            }
        }
    };
    soon(waking).await;
}

#[tokio::test]
async fn commits_of_others_wake_again_after_the_connections_that_listen_were_lost() {
    let fixture = Fixture::on_postgres().await;
    let other = Database::open(&fixture.url()).await.unwrap();
    let listeners = "FROM pg_stat_activity
                     WHERE datname = current_database() AND query = 'LISTEN outrigger'";
    let find = format!("SELECT pid {listeners}");
    while fixture.db.query(&find, params![]).await.unwrap().len() < 2 {
        env::sleep(Duration::from_millis(5)).await;
    }
    let cut = format!("SELECT pg_terminate_backend(pid) {listeners}");
    fixture.db.query(&cut, params![]).await.unwrap();
    woken(&fixture.db, &other).await;
}

#[tokio::test]
async fn commits_of_others_wake_again_after_the_connection_that_listens_has_gone_silent() {
    let fixture = Fixture::on_postgres().await;
    let (proxy, far) = behind_a_proxy(&fixture).await;
    let hosts = format!("{far},127.0.0.1:{}", fixture.server_port());
    let db = at(&fixture, &hosts).await;
    woken(&db, &fixture.db).await;
    proxy.cut();
    let mut tx = fixture.db.begin().await.unwrap();
    tx.execute("DELETE FROM entry", params![]).await.unwrap();
    tx.commit().await.unwrap();
    woken(&db, &fixture.db).await;
}
