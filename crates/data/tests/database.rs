//! Opening, reading and reopening.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use fixture::{Fixture, entries, insert};
use outrigger_data as data;

use data::{Database, Error, params};

#[tokio::test]
async fn another_engine_is_refused_without_showing_the_password() {
    for url in [
        "postgres://user:secret@host/db",
        "sqlite:",
        "sqlite::memory:",
        "file.sqlite",
    ] {
        let error = Database::open(url).await.unwrap_err();
        assert!(
            matches!(error, Error::UnsupportedUrl { .. }),
            "{url}: {error:?}"
        );
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}

#[tokio::test]
async fn missing_folders_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/order-service.sqlite");
    let db = Database::open(&format!("sqlite:{}", path.display()))
        .await
        .unwrap();
    db.ping().await.unwrap();
    assert_eq!(db.owner(), "order-service");
    assert_eq!(db.owned_by("someone-else").owner(), "someone-else");
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening_and_nothing_else() {
    let Fixture { folder, db } = Fixture::new().await;
    let url = format!("sqlite:{}", folder.path().join("test.sqlite").display());
    let mut kept = db.begin().await.unwrap();
    insert(&mut kept, 1).await.unwrap();
    kept.commit().await.unwrap();
    let mut open = db.begin().await.unwrap();
    insert(&mut open, 2).await.unwrap();
    drop((open, db));

    let db = Database::open(&url).await.unwrap();
    assert_eq!(entries(&db).await, [1]);
}

#[tokio::test]
async fn a_second_handle_on_the_same_file_sees_every_acknowledged_commit() {
    let fixture = Fixture::new().await;
    let other = Database::open(&fixture.url()).await.unwrap();
    for id in 0..20 {
        let mut tx = fixture.db.begin().await.unwrap();
        insert(&mut tx, id).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(entries(&other).await.len(), id as usize + 1);
    }
}

#[tokio::test]
async fn readers_see_committed_data_only_and_do_not_wait_for_a_writer() {
    let Fixture {
        db,
        folder: _folder,
    } = Fixture::new().await;
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, 1).await.unwrap();

    assert!(entries(&db).await.is_empty(), "not committed yet");
    assert_eq!(
        tx.query("SELECT id FROM entry", params![])
            .await
            .unwrap()
            .len(),
        1
    );

    tx.commit().await.unwrap();
    assert_eq!(entries(&db).await, [1]);
}

#[tokio::test]
async fn a_query_cannot_write() {
    let Fixture {
        db,
        folder: _folder,
    } = Fixture::new().await;
    let error = db.query("DELETE FROM entry", params![]).await.unwrap_err();
    assert!(matches!(error, Error::Statement { .. }), "{error:?}");
}

#[tokio::test]
async fn inspection_reads_and_changes_nothing() {
    let fixture = Fixture::new().await;
    let view = Database::inspect(&fixture.url()).await.unwrap();
    assert!(entries(&view).await.is_empty());
    assert!(matches!(view.begin().await.unwrap_err(), Error::ReadOnly));

    let nowhere = format!(
        "sqlite:{}",
        fixture.folder.path().join("none.sqlite").display()
    );
    assert!(matches!(
        Database::inspect(&nowhere).await.unwrap_err(),
        Error::Open { .. }
    ));
    assert!(!fixture.folder.path().join("none.sqlite").exists());
}

#[tokio::test(start_paused = true)]
async fn another_process_that_holds_the_file_is_waited_for_without_blocking_the_thread() {
    let fixture = Fixture::new().await;
    let other = Database::open(&fixture.url()).await.unwrap();
    let held = other.begin().await.unwrap();

    let db = fixture.db.clone();
    let waiting = tokio::spawn(async move { db.begin().await.map(drop) });
    fixture::settle().await;
    assert!(!waiting.is_finished());
    drop(held);
    waiting.await.unwrap().unwrap();

    let _held = other.begin().await.unwrap();
    let error = fixture.db.begin().await.unwrap_err(); // after five seconds of paused time
    assert!(error.is_retryable(), "{error:?}");
}
