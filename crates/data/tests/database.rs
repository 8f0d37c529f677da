//! Opening, reading and reopening, on either engine.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use fixture::{Fixture, entries, insert};
use outrigger_data as data;

use data::{Database, Error, params};

on_each_engine!(
    what_was_committed_is_there_after_reopening_and_nothing_else,
    a_second_handle_sees_every_acknowledged_commit,
    readers_see_committed_data_only_and_do_not_wait_for_a_writer,
    a_query_cannot_write,
    inspection_reads_and_changes_nothing,
);

#[tokio::test]
async fn another_engine_is_refused_without_showing_the_password() {
    for url in [
        "mysql://user:secret@host/db",
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

async fn what_was_committed_is_there_after_reopening_and_nothing_else(fixture: Fixture) {
    let url = fixture.url();
    let mut kept = fixture.db.begin().await.unwrap();
    insert(&mut kept, 1).await.unwrap();
    kept.commit().await.unwrap();
    let mut open = fixture.db.begin().await.unwrap();
    insert(&mut open, 2).await.unwrap();
    let Fixture {
        db,
        folder: _folder,
        ..
    } = fixture;
    drop((open, db));

    let db = Database::open(&url).await.unwrap();
    assert_eq!(entries(&db).await, [1]);
}

async fn a_second_handle_sees_every_acknowledged_commit(fixture: Fixture) {
    let other = Database::open(&fixture.url()).await.unwrap();
    for id in 0..20 {
        let mut tx = fixture.db.begin().await.unwrap();
        insert(&mut tx, id).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(entries(&other).await.len(), id as usize + 1);
    }
}

async fn readers_see_committed_data_only_and_do_not_wait_for_a_writer(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, 1).await.unwrap();

    assert!(entries(&db).await.is_empty(), "not committed yet");
    let own = tx.query("SELECT id FROM entry", params![]).await.unwrap();
    assert_eq!(own.len(), 1);

    tx.commit().await.unwrap();
    assert_eq!(entries(&db).await, [1]);
}

async fn a_query_cannot_write(fixture: Fixture) {
    let error = fixture.db.query("DELETE FROM entry", params![]).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Statement { .. }), "{error:?}");
}

async fn inspection_reads_and_changes_nothing(fixture: Fixture) {
    let view = Database::inspect(&fixture.url()).await.unwrap();
    assert!(entries(&view).await.is_empty());
    assert!(matches!(view.begin().await.unwrap_err(), Error::ReadOnly));
    view.query("DELETE FROM entry", params![])
        .await
        .unwrap_err();

    let nowhere = fixture.url().replace("test", "none");
    let error = Database::inspect(&nowhere).await.unwrap_err();
    assert!(matches!(error, Error::Open { .. }), "{error:?}");
    let error = Database::inspect(&nowhere).await.unwrap_err();
    assert!(matches!(error, Error::Open { .. }), "not made: {error:?}");
}
