//! The schema's steps.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use fixture::{ENTRIES, Fixture};
use outrigger_data as data;

use data::{Error, Migration, params};

on_each_engine!(
    steps_are_applied_once_each_and_new_ones_are_added,
    a_changed_step_is_an_error_that_names_it,
    a_failing_step_leaves_no_trace_and_keeps_the_steps_before_it,
    the_first_steps_are_one_transaction,
    a_step_cannot_commit_on_its_own,
    deferred_constraints_are_refused_because_they_would_fail_a_whole_group,
    the_list_must_go_on_from_where_the_database_is,
    parts_count_their_own_versions,
);

const fn step(version: u32, name: &'static str, sql: &'static str) -> Migration {
    Migration::new(version, name, sql)
}

async fn steps_are_applied_once_each_and_new_ones_are_added(fixture: Fixture) {
    let db = fixture.db.clone();
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

async fn a_changed_step_is_an_error_that_names_it(fixture: Fixture) {
    let db = fixture.db.clone();
    let error = db
        .migrate(&[step(1, "entries", "CREATE TABLE other (x BIGINT)")])
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "migration 1 `entries` of service was changed after it had been applied: restore it, and make the change in a new migration"
    );
}

async fn a_failing_step_leaves_no_trace_and_keeps_the_steps_before_it(fixture: Fixture) {
    let db = fixture.db.clone();
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

async fn the_first_steps_are_one_transaction(fixture: Fixture) {
    let db = fixture.db.clone();
    let good = step(1, "good", "CREATE TABLE good (x BIGINT)");
    let bad = step(2, "bad", "CREATE TABEL;");
    let error = db.migrate_part("new", &[good, bad]).await.unwrap_err();
    assert!(
        matches!(error, Error::Migration { version: 2, .. }),
        "{error:?}"
    );
    db.query("SELECT * FROM good", params![]).await.unwrap_err();

    let mended = step(2, "bad", "CREATE TABLE mended (x BIGINT)");
    db.migrate_part("new", &[good, mended]).await.unwrap();
    db.query("SELECT * FROM good, mended", params![])
        .await
        .unwrap();
}

async fn a_step_cannot_commit_on_its_own(fixture: Fixture) {
    let db = fixture.db.clone();
    for (part, sql) in [
        ("a", "CREATE TABLE a (x BIGINT); COMMIT;"),
        ("b", "CREATE TABLE b (x BIGINT); COMMIT; BEGIN;"),
    ] {
        let steps = [step(1, "commits", sql)];
        let error = db.migrate_part(part, &steps).await.unwrap_err();
        assert!(matches!(error, Error::Migration { .. }), "{sql}: {error:?}");
        db.begin().await.unwrap().commit().await.unwrap();
    }
}

async fn deferred_constraints_are_refused_because_they_would_fail_a_whole_group(fixture: Fixture) {
    let db = fixture.db.clone();
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

async fn the_list_must_go_on_from_where_the_database_is(fixture: Fixture) {
    let db = fixture.db.clone();
    let (two, four) = (
        step(2, "two", "CREATE TABLE two (x BIGINT)"),
        step(4, "four", "CREATE TABLE four (x BIGINT)"),
    );
    db.migrate(&[ENTRIES[0], two, four]).await.unwrap();

    let three = step(3, "three", "CREATE TABLE three (x BIGINT)");
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

async fn parts_count_their_own_versions(fixture: Fixture) {
    let db = fixture.db.clone();
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
