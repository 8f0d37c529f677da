//! What is PostgreSQL's own: concurrent writers, a pool, a server that may go away, encryption.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use std::time::Duration;

use fixture::{ENTRIES, Fixture, entries, insert, load::Load};
use outrigger_data as data;
use servers::{Postgres, postgres::Options};

use data::{Database, Error, error::Kind, params};

#[tokio::test]
async fn no_update_is_lost_when_many_transactions_change_one_row() {
    let fixture = Fixture::on_postgres().await;
    let db = &fixture.db;
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, 0).await.unwrap();
    tx.execute("UPDATE entry SET note = '0'", params![])
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    db.transaction(async |mut tx| {
                        let row = tx.query_one("SELECT note FROM entry", params![]).await?;
                        let count: i64 = row.unwrap().get::<String>(0)?.parse().unwrap();
                        tx.execute("UPDATE entry SET note = $1", params![count + 1])
                            .await
                    })
                    .await?;
                }
                Ok::<_, Error>(())
            })
        })
        .collect();
    // Those that met another one took turns: none met so many that it had to give up.
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let row = db
        .query_one("SELECT note FROM entry", params![])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.get::<String>(0).unwrap(), "200");
}

#[tokio::test]
async fn a_conflict_is_named_and_the_transaction_knows_that_it_may_run_again() {
    let fixture = Fixture::on_postgres().await;
    let mut one = fixture.db.begin().await.unwrap();
    let mut two = fixture.db.begin().await.unwrap();
    insert(&mut one, 1).await.unwrap();
    two.query("SELECT id FROM entry", params![]).await.unwrap(); // its view is of now
    one.commit().await.unwrap();

    let sql = "INSERT INTO entry VALUES (1, 'y') ON CONFLICT (id) DO UPDATE SET note = 'y'";
    let error = two.execute(sql, params![]).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Statement {
                kind: Kind::Serialization,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.is_retryable() && two.is_retryable());
}

#[tokio::test]
async fn a_commit_of_another_process_wakes() {
    let fixture = Fixture::on_postgres().await;
    let other = Database::open(&fixture.url()).await.unwrap();
    let mut changes = fixture.db.changes("news");
    // Until both listen, a notification may be lost, and then the poll comes.
    let mut fastest = Duration::MAX;
    for id in 0..5 {
        let mut tx = other.begin().await.unwrap();
        insert(&mut tx, id).await.unwrap();
        tx.notify("news");
        let committed = env::instant();
        tx.commit().await.unwrap();
        changes.wait().await;
        fastest = fastest.min(committed.elapsed());
    }
    assert!(
        fastest < Duration::from_millis(500),
        "by the poll only: {fastest:?}"
    );
}

#[tokio::test]
async fn two_that_forget_the_same_at_once_both_get_it_done() {
    let fixture = Fixture::on_postgres().await;
    let db = &fixture.db;
    let mut tx = db.begin().await.unwrap();
    for id in 0..10 {
        tx.receive("group", &id.to_string()).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut other = db.begin().await.unwrap();
    other
        .execute("DELETE FROM outrigger_inbox", params![])
        .await
        .unwrap();

    let soon = env::now() + Duration::from_secs(3600);
    let pruning = tokio::spawn({
        let db = db.clone();
        async move { db.prune_inbox(soon).await }
    });
    let waiting = "SELECT 1 FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while db.query(waiting, params![]).await.unwrap().is_empty() {
        env::sleep(Duration::from_millis(5)).await;
    }
    other.commit().await.unwrap();
    assert_eq!(pruning.await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_transaction_that_is_dropped_or_cancelled_leaves_no_trace_on_its_connection() {
    let fixture = Fixture::on_postgres().await;
    let db = Database::open(&format!("{}?pool_size=1", fixture.url()))
        .await
        .unwrap();
    for id in 0..20 {
        let mut tx = db.begin().await.unwrap();
        insert(&mut tx, id).await.unwrap();
        if id % 2 == 0 {
            let slow = tx.query("SELECT pg_sleep(0.02)", params![]);
            env::timeout(Duration::from_millis(1), slow)
                .await
                .unwrap_err();
            assert!(matches!(tx.commit().await.unwrap_err(), Error::Aborted));
        } else {
            drop(tx);
        }
        assert!(entries(&db).await.is_empty(), "on the only connection");
    }
}

#[tokio::test]
async fn a_pool_that_is_full_makes_wait_and_then_refuses() {
    let fixture = Fixture::on_postgres().await;
    let db = Database::open(&format!("{}?pool_size=2", fixture.url()))
        .await
        .unwrap();
    let held = (db.begin().await.unwrap(), db.begin().await.unwrap());
    let mut waiting = Box::pin(db.begin());
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(held.0);
    waiting.await.unwrap();

    let held = (held.1, db.begin().await.unwrap());
    let mut queue = Vec::new();
    for _ in 0..data::QUEUE_LIMIT {
        let mut begin = Box::pin(db.begin());
        assert!(futures::poll!(&mut begin).is_pending());
        queue.push(begin);
    }
    let error = db.begin().await.unwrap_err();
    assert!(matches!(error, Error::Overloaded { .. }), "{error:?}");
    drop((queue, held));
    db.begin().await.unwrap();
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended() {
    let fixture = Fixture::on_postgres().await;
    let url = format!("{}?statement_timeout=50", fixture.url());
    let db = Database::open(&url).await.unwrap();
    let error = db
        .query("SELECT pg_sleep(60)", params![])
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Statement {
                kind: Kind::Timeout,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_values_of_rows_are_in_no_error() {
    let fixture = Fixture::on_postgres().await;
    let sql = "CREATE TABLE person (email TEXT PRIMARY KEY)";
    let step = data::Migration::new(1, "person", sql);
    fixture.db.migrate_part("person", &[step]).await.unwrap();
    let mut tx = fixture.db.begin().await.unwrap();
    let sql = "INSERT INTO person VALUES ($1)";
    tx.execute(sql, params!["me@example.org"]).await.unwrap();
    let error = tx
        .execute(sql, params!["me@example.org"])
        .await
        .unwrap_err();
    assert!(error.is_unique_violation());
    assert!(!format!("{error:?}").contains("example.org"), "{error:?}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_without_showing_it() {
    let server = Postgres::start_with(Options::new().password("right"))
        .await
        .unwrap();
    Database::open(&server.url()).await.unwrap();
    let error = Database::open(&server.url().replace("right", "secret"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Open { .. }), "{error:?}");
    assert!(
        !format!("{error} {error:?}").contains("secret"),
        "{error:?}"
    );
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_role_cannot_enter_the_database_of_another_one() {
    let server = Postgres::start_with(Options::new().password("admin"))
        .await
        .unwrap();
    let url = |role: &str, database: &str| {
        format!(
            "postgres://{role}:it%27s%20{role}@127.0.0.1:{}/{database}",
            server.port()
        )
    };
    for service in ["order-service", "user-service", "user-service"] {
        let password = format!("it's {service}");
        data::provision(&server.url(), service, &password)
            .await
            .unwrap(); // twice does no harm
        let db = Database::open(&url(service, service)).await.unwrap();
        db.migrate(ENTRIES).await.unwrap();
    }
    for (role, database) in [
        ("order-service", "user-service"),
        ("user-service", "order-service"),
    ] {
        let error = Database::inspect(&url(role, database)).await.unwrap_err();
        assert!(matches!(error, Error::Open { .. }), "{error:?}");
        assert!(
            format!("{error:?}").contains("permission denied"),
            "{error:?}"
        );
    }
    let wrong = url("user-service", "user-service").replace("it%27s", "its");
    Database::inspect(&wrong).await.unwrap_err();
}

#[tokio::test]
async fn connections_are_encrypted_and_the_server_is_who_it_says() {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (pem, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let server = Postgres::start_with(Options::new().tls(&pem, &key))
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (own, other) = (
        folder.path().join("own.pem"),
        folder.path().join("other.pem"),
    );
    std::fs::write(&own, &pem).unwrap();
    let stranger = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&other, stranger.cert.pem()).unwrap();

    let encrypted = async |query: String| {
        let db = Database::open(&format!("{}?{query}", server.url())).await?;
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        db.query_one(sql, params![]).await?.unwrap().get::<bool>(0)
    };
    let verified =
        |file: &std::path::Path| format!("sslmode=verify-full&sslrootcert={}", file.display());
    assert!(encrypted(verified(&own)).await.unwrap());
    assert!(encrypted("sslmode=require".to_owned()).await.unwrap());
    assert!(encrypted("sslmode=prefer".to_owned()).await.unwrap());
    assert!(!encrypted("sslmode=disable".to_owned()).await.unwrap());
    for refused in [verified(&other), "sslmode=verify-full".to_owned()] {
        let error = encrypted(refused).await.unwrap_err();
        assert!(matches!(error, Error::Open { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_said_to_be() {
    let mut server = Postgres::start().await.unwrap();
    server.kill().await.unwrap();
    let error = Database::open(&server.url()).await.unwrap_err();
    let place = format!("postgres://127.0.0.1:{}/postgres", server.port());
    assert_eq!(
        error.to_string(),
        format!(
            "the database {place} cannot be reached: see that it runs and is named rightly; nothing was done, so try again"
        )
    );
    assert!(error.is_retryable());
}

/// Whatever was acknowledged is there, and the same pool goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g1_atomic_nothing_acknowledged_is_lost_when_the_server_is_killed_under_load() {
    let mut server = Postgres::start_with(Options::new().fsync()).await.unwrap();
    let db = Database::open(&server.url()).await.unwrap();
    db.migrate(ENTRIES).await.unwrap();
    let load = Load::on(&db);
    for _ in 0..2 {
        load.goes_on(200).await;
        server.kill().await.unwrap();
        load.meets_trouble().await;
        server.restart().await.unwrap();
    }
    load.goes_on(200).await;
    assert!(load.end().await > 300);
}
