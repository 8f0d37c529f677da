//! A server whose disk is full.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use fixture::{ENTRIES, entries, load::Load};
use outrigger_data as data;
use servers::Postgres;

use data::{Database, Error, error::Kind, params};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g1_atomic_a_full_disk_refuses_to_write_goes_on_reading_and_recovers_when_there_is_room() {
    let server = Postgres::start().await.unwrap();
    let disk = match server.database_on_a_small_disk("small").await {
        Ok(disk) => disk,
        Err(servers::Error::Failed { program, said }) if program == "mount" => {
            skip(&said);
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let db = Database::open(disk.url()).await.unwrap();
    db.migrate(ENTRIES).await.unwrap();
    let load = Load::on(&db);
    load.goes_on(100).await;
    disk.fill().unwrap();
    load.meets_trouble().await;

    let error = too_much(&db).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Statement {
                kind: Kind::Storage,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.is_retryable() && !error.is_conflict());
    let said = error.to_string();
    assert!(
        said.contains("disk") && said.contains("make room"),
        "{said}"
    );
    assert!(entries(&db).await.len() >= 200, "what is there can be read");

    disk.make_room().unwrap();
    load.goes_on(100).await;
    assert!(load.end().await >= 200);
}

/// More than the rest of any page.
async fn too_much(db: &Database) -> data::Result<u64> {
    let mut tx = db.begin().await?;
    let sql = "INSERT INTO entry SELECT -id, repeat('x', 1000) FROM generate_series(1, 100) AS id";
    tx.execute(sql, params![]).await
}

#[allow(clippy::print_stderr, reason = "whoever runs the tests should know")]
fn skip(why: &str) {
    eprintln!("skipped: a disk of its own needs root, and a system that lets it mount: {why}");
}
