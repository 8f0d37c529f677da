//! What is SQLite's own: a file, which another process may hold.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use fixture::{Fixture, settle};
use outrigger_data as data;

use data::{Database, Value};

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

#[tokio::test(start_paused = true)]
async fn another_process_that_holds_the_file_is_waited_for_without_blocking_the_thread() {
    let fixture = Fixture::new().await;
    let other = Database::open(&fixture.url()).await.unwrap();
    let held = other.begin().await.unwrap();

    let db = fixture.db.clone();
    let waiting = tokio::spawn(async move { db.begin().await.map(drop) });
    settle().await;
    assert!(!waiting.is_finished());
    drop(held);
    waiting.await.unwrap().unwrap();

    let _held = other.begin().await.unwrap();
    let error = fixture.db.begin().await.unwrap_err(); // after five seconds of paused time
    assert!(error.is_retryable(), "{error:?}");
}

/// PostgreSQL's texts cannot hold one.
#[tokio::test]
async fn a_text_may_hold_the_character_zero() {
    let fixture = Fixture::new().await;
    let text = Value::Text("a\0b".to_owned());
    let row = fixture
        .db
        .query_one("SELECT $1", std::slice::from_ref(&text))
        .await;
    assert_eq!(row.unwrap().unwrap().values(), [text]);
}
