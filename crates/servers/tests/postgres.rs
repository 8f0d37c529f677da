//! A private server of PostgreSQL: there while it is wanted, gone after.

use outrigger_servers as servers;

use servers::{Error, Postgres, postgres::Options};

#[tokio::test]
async fn what_was_committed_is_there_after_a_kill_and_a_restart() {
    let mut server = Postgres::start().await.expect("started");
    server
        .sql("CREATE TABLE kept (id INTEGER)")
        .expect("committed");
    server.kill().await.expect("killed");
    server.sql("SELECT 1").expect_err("it is gone");
    server.restart().await.expect("started again");
    server
        .sql("INSERT INTO kept VALUES (1)")
        .expect("the table is there");
}

#[tokio::test]
async fn each_is_alone_and_nothing_of_it_stays() {
    let one = Postgres::start().await.expect("started");
    let two = Postgres::start().await.expect("started");
    assert_ne!(one.port(), two.port());
    one.database("orders").await.expect("made");
    two.database("orders").await.expect("another one");
    let again = one.database("orders").await.expect_err("there is one");
    assert!(matches!(again, Error::Failed { .. }), "{again}");

    let port = one.port();
    drop(one);
    let nobody = env::net::connect(([127, 0, 0, 1], port).into()).await;
    assert!(nobody.is_err(), "somebody still listens on {port}");
    two.sql("SELECT 1").expect("the other one is still there");
}

#[tokio::test]
async fn a_server_with_a_password_lets_nobody_in_without_it() {
    let server = Postgres::start_with(Options::new().password("secret")).await;
    let server = server.expect("started");
    server.sql("SELECT 1").expect("the URL has the password");
    assert!(server.url().contains(":secret@"));
}

#[tokio::test]
async fn a_replica_has_what_was_committed_and_writes_once_it_is_promoted() {
    let mut primary = Postgres::start_with(Options::new().password("secret"))
        .await
        .expect("started");
    let replica = primary.replica().await.expect("started");
    primary.commit_on_a_replica().expect("set");
    primary
        .sql("CREATE TABLE kept (id INTEGER)")
        .expect("committed");
    primary.kill().await.expect("killed");
    let write = "INSERT INTO kept VALUES (1)";
    replica.sql(write).expect_err("it is a standby");
    replica.promote().expect("promoted");
    replica.sql(write).expect("it is none any more");
}
