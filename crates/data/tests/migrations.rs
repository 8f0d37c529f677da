//! The schema's steps.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use fixture::{ENTRIES, Fixture};
use outrigger_data as data;

use data::{Error, Migration, params};

const fn step(version: u32, name: &'static str, sql: &'static str) -> Migration {
    Migration::new(version, name, sql)
}

#[tokio::test]
async fn steps_are_applied_once_each_and_new_ones_are_added() {
    let Fixture {
        db,
        folder: _folder,
    } = Fixture::new().await;
    db.migrate(ENTRIES).await.unwrap();
    let more = [
        ENTRIES[0],
        step(
            5,
            "two tables",
            "CREATE TABLE a (x BIGINT); CREATE TABLE b (y BIGINT);",
        ),
    ];
    db.migrate(&more).await.unwrap();
    db.migrate(&more).await.unwrap();
    db.query("SELECT * FROM a, b, entry", params![])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_changed_step_is_an_error_that_names_it() {
    let Fixture {
        db,
        folder: _folder,
    } = Fixture::new().await;
    let error = db
        .migrate(&[step(1, "entries", "CREATE TABLE other (x BIGINT)")])
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "migration 1 `entries` of service was changed after it had been applied"
    );
}

#[tokio::test]
async fn a_failing_step_leaves_no_trace_and_keeps_the_steps_before_it() {
    let Fixture {
        db,
        folder: _folder,
    } = Fixture::new().await;
    let good = step(2, "good", "CREATE TABLE good (x BIGINT)");
    let bad = step(3, "bad", "CREATE TABLE half (x BIGINT); CREATE TABEL;");
    let error = db.migrate(&[ENTRIES[0], good, bad]).await.unwrap_err();
    assert!(
        matches!(error, Error::Migration { version: 3, .. }),
        "{error:?}"
    );
    db.query("SELECT * FROM good", params![]).await.unwrap();
    db.query("SELECT * FROM half", params![]).await.unwrap_err();

    let mended = step(3, "bad", "CREATE TABLE half (x BIGINT)");
    db.migrate(&[ENTRIES[0], good, mended]).await.unwrap();
}

#[tokio::test]
async fn a_step_cannot_commit_on_its_own() {
    let Fixture {
        db,
        folder: _folder,
    } = Fixture::new().await;
    let error = db
        .migrate(&[
            ENTRIES[0],
            step(2, "commits", "CREATE TABLE a (x); COMMIT;"),
        ])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Migration { .. }), "{error:?}");
    db.begin().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn deferred_constraints_are_refused_because_they_would_fail_a_whole_group() {
    let Fixture {
        db,
        folder: _folder,
    } = Fixture::new().await;
    let sql =
        "CREATE TABLE child (entry BIGINT REFERENCES entry (id) DEFERRABLE INITIALLY\n deferred)";
    let error = db
        .migrate(&[ENTRIES[0], step(2, "child", sql)])
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::MigrationDeferred { version: 2, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_list_must_go_on_from_where_the_database_is() {
    let Fixture {
        db,
        folder: _folder,
    } = Fixture::new().await;
    let (two, four) = (
        step(2, "two", "CREATE TABLE two (x)"),
        step(4, "four", "CREATE TABLE four (x)"),
    );
    db.migrate(&[ENTRIES[0], two, four]).await.unwrap();

    let three = step(3, "three", "CREATE TABLE three (x)");
    for wrong in [
        &[ENTRIES[0], two, three, four][..],
        &[ENTRIES[0], four],
        &[two, ENTRIES[0]],
    ] {
        let error = db.migrate(wrong).await.unwrap_err();
        assert!(matches!(error, Error::MigrationOrder { .. }), "{error:?}");
    }
    db.migrate(&[ENTRIES[0], two]).await.unwrap(); // an older program beside a newer one
}

#[tokio::test]
async fn parts_count_their_own_versions() {
    let Fixture {
        db,
        folder: _folder,
    } = Fixture::new().await;
    db.migrate_part(
        "saga",
        &[step(1, "journal", "CREATE TABLE journal (x BIGINT)")],
    )
    .await
    .unwrap();
    db.query("SELECT * FROM journal, entry", params![])
        .await
        .unwrap();
}
