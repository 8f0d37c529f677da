//! What one transaction promises.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod fixture;

use std::time::Duration;

use fixture::{Fixture, entries, insert, message, outbox_ids};
use outrigger_data as data;

use data::{Error, Statement, Timer, Transaction, params};
use running_again::{
    a_closure_that_refuses_is_rolled_back_and_runs_once,
    a_statement_that_can_never_succeed_is_not_tried_again,
    what_a_closure_wrote_is_committed_and_its_value_returned,
};

on_each_engine!(
    g1_atomic_state_outbox_inbox_and_timers_are_kept_together,
    g1_atomic_state_outbox_inbox_and_timers_go_together,
    g1_atomic_what_is_executed_later_is_kept_with_the_rest,
    what_is_executed_later_runs_before_what_comes_next,
    g1_atomic_nothing_is_kept_when_what_is_executed_later_fails,
    after_a_failed_statement_nothing_but_rolling_back_is_possible,
    g1_atomic_what_failed_after_a_savepoint_is_undone_alone,
    g1_atomic_what_was_to_run_later_is_undone_with_its_part,
    g1_atomic_whatever_fails_first_after_a_savepoint_is_undone_alone,
    rolling_back_to_a_savepoint_undoes_those_after_it,
    parameters_are_numbered_and_counted,
    a_statement_cannot_end_the_transaction_of_the_group,
    foreign_keys_are_enforced,
    changes_wake_at_the_commit_and_miss_none,
    what_a_closure_wrote_is_committed_and_its_value_returned,
    a_closure_that_refuses_is_rolled_back_and_runs_once,
    a_statement_that_can_never_succeed_is_not_tried_again,
);

async fn g1_atomic_state_outbox_inbox_and_timers_are_kept_together(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut tx = db.begin().await.unwrap();
    write_everything(&mut tx).await;
    tx.commit().await.unwrap();

    assert_eq!(entries(&db).await, [1]);
    assert_eq!(outbox_ids(&db).await, ["1"]);
    assert!(db.next_timer("reminder").await.unwrap().is_some());
    assert!(
        !db.begin()
            .await
            .unwrap()
            .receive("group", "m")
            .await
            .unwrap()
    );
}

async fn g1_atomic_state_outbox_inbox_and_timers_go_together(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut dropped = db.begin().await.unwrap();
    write_everything(&mut dropped).await;
    drop(dropped);

    let mut rolled_back = db.begin().await.unwrap();
    write_everything(&mut rolled_back).await;
    rolled_back.rollback().await.unwrap();

    let mut failed = db.begin().await.unwrap();
    write_everything(&mut failed).await;
    assert!(
        insert(&mut failed, 1)
            .await
            .unwrap_err()
            .is_unique_violation()
    );
    assert!(matches!(failed.commit().await.unwrap_err(), Error::Aborted));

    assert!(entries(&db).await.is_empty());
    assert!(outbox_ids(&db).await.is_empty());
    assert!(db.next_timer("reminder").await.unwrap().is_none());
    assert!(
        db.begin()
            .await
            .unwrap()
            .receive("group", "m")
            .await
            .unwrap()
    );
}

async fn write_everything(tx: &mut Transaction) {
    assert!(tx.receive("group", "m").await.unwrap());
    insert(tx, 1).await.unwrap();
    tx.enqueue(message(1));
    let due = env::now();
    let (id, kind) = ("t".to_owned(), "reminder".to_owned());
    tx.schedule(Timer {
        id,
        kind,
        due,
        payload: Vec::new(),
    });
}

const INSERT: &str = "INSERT INTO entry VALUES ($1, $2)";

async fn g1_atomic_what_is_executed_later_is_kept_with_the_rest(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, 1).await.unwrap();
    tx.execute_later(INSERT, params![2, "x"]);
    tx.execute_later("DELETE FROM entry WHERE id < $1", params![2]);
    for id in ["a", "b", "c"] {
        tx.enqueue(message(id));
    }
    tx.commit().await.unwrap();
    assert_eq!(entries(&db).await, [2]);
    assert_eq!(outbox_ids(&db).await, ["a", "b", "c"]);

    let mut nothing_else = db.begin().await.unwrap();
    nothing_else.execute_later(INSERT, params![3, "x"]);
    nothing_else.commit().await.unwrap();
    assert_eq!(entries(&db).await, [2, 3]);
}

async fn what_is_executed_later_runs_before_what_comes_next(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut tx = db.begin().await.unwrap();
    tx.execute_later(INSERT, params![1, "x"]);
    tx.execute_later(INSERT, params![2, "x"]);
    let changed = tx.execute("UPDATE entry SET note = $1", params!["y"]).await;
    assert_eq!(changed.unwrap(), 2);
    tx.execute_later(INSERT, params![3, "x"]);
    let ys = "SELECT COUNT(*) FROM entry WHERE note = $1";
    let count = tx.query_one(ys, params!["x"]).await.unwrap().unwrap();
    assert_eq!(count.get::<i64>(0).unwrap(), 1);
    tx.execute_later(INSERT, params![4, "x"]);
    let all = [
        Statement::new("DELETE FROM entry WHERE id > $1", params![1]),
        Statement::new("DELETE FROM entry WHERE id > $1", params![1]),
        Statement::new(INSERT, params![5, "x"]),
    ];
    assert_eq!(tx.execute_all(all.to_vec()).await.unwrap(), [3, 0, 1]);
    tx.commit().await.unwrap();
    assert_eq!(entries(&db).await, [1, 5]);
}

async fn g1_atomic_nothing_is_kept_when_what_is_executed_later_fails(fixture: Fixture) {
    let db = fixture.db.clone();
    let taken: &[data::Value] = params![1, "x"];
    let unfit = &[2.into(), data::Value::Array(vec![1.into()])];
    let too_few = params![2];
    for last in [taken, unfit, too_few] {
        for committed in [true, false] {
            let mut tx = db.begin().await.unwrap();
            insert(&mut tx, 1).await.unwrap();
            tx.enqueue(message(1));
            tx.execute_later(INSERT, last);
            tx.execute_later(INSERT, params![3, "x"]);
            let error = if committed {
                tx.commit().await.unwrap_err()
            } else {
                let error = insert(&mut tx, 4).await.unwrap_err();
                let after = tx.commit().await.unwrap_err();
                assert!(matches!(after, Error::Aborted), "{after:?}");
                error
            };
            assert!(!error.is_retryable(), "{error:?}");
            assert!(error.to_string().contains("INSERT"), "{error}");
            assert!(entries(&db).await.is_empty(), "after {error}");
            assert!(outbox_ids(&db).await.is_empty(), "after {error}");
        }
    }
}

async fn after_a_failed_statement_nothing_but_rolling_back_is_possible(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, 1).await.unwrap();
    let twice = insert(&mut tx, 1).await.unwrap_err();
    assert!(
        twice.is_unique_violation() && !twice.is_retryable(),
        "{twice:?}"
    );
    let after = insert(&mut tx, 2).await.unwrap_err();
    assert!(matches!(after, Error::Aborted), "{after:?}");
    assert!(matches!(tx.commit().await.unwrap_err(), Error::Aborted));
    assert!(entries(&db).await.is_empty());
}

async fn g1_atomic_what_failed_after_a_savepoint_is_undone_alone(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut tx = db.begin().await.unwrap();
    write_everything(&mut tx).await;
    let before = tx.savepoint().await.unwrap();
    insert(&mut tx, 2).await.unwrap();
    tx.enqueue(message(2));
    tx.cancel_timer("t");
    assert!(insert(&mut tx, 1).await.unwrap_err().is_unique_violation());
    tx.rollback_to(before).await.unwrap();
    insert(&mut tx, 3).await.unwrap();
    tx.enqueue(message(3));
    tx.commit().await.unwrap();

    assert_eq!(entries(&db).await, [1, 3]);
    assert_eq!(outbox_ids(&db).await, ["1", "3"]);
    assert!(db.next_timer("reminder").await.unwrap().is_some());
}

async fn g1_atomic_what_was_to_run_later_is_undone_with_its_part(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut tx = db.begin().await.unwrap();
    tx.execute_later(INSERT, params![1, "x"]);
    let before = tx.savepoint().await.unwrap();
    tx.execute_later(INSERT, params![2, "x"]);
    tx.rollback_to(before).await.unwrap();
    let before = tx.savepoint().await.unwrap();
    insert(&mut tx, 3).await.unwrap();
    tx.execute_later(INSERT, params![4, "x"]);
    tx.rollback_to(before).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(entries(&db).await, [1]);
}

async fn g1_atomic_whatever_fails_first_after_a_savepoint_is_undone_alone(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut tx = db.begin().await.unwrap();
    tx.execute_later(INSERT, params![1, "x"]);
    for (sql, params) in [
        ("INSERT INTO nowhere VALUES ($1)", params![2].to_vec()),
        (INSERT, params![2].to_vec()),
        ("COMMIT", Vec::new()),
    ] {
        let before = tx.savepoint().await.unwrap();
        tx.execute_later(INSERT, params![2, "x"]);
        tx.execute(sql, &params).await.unwrap_err();
        tx.rollback_to(before).await.unwrap();
    }
    tx.commit().await.unwrap();

    assert_eq!(entries(&db).await, [1]);
}

async fn rolling_back_to_a_savepoint_undoes_those_after_it(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut tx = db.begin().await.unwrap();
    let first = tx.savepoint().await.unwrap();
    insert(&mut tx, 1).await.unwrap();
    let second = tx.savepoint().await.unwrap();
    insert(&mut tx, 2).await.unwrap();
    tx.rollback_to(second).await.unwrap();
    let _kept = tx.savepoint().await.unwrap();
    insert(&mut tx, 3).await.unwrap();
    tx.rollback_to(first).await.unwrap();
    insert(&mut tx, 4).await.unwrap();
    let _kept = tx.savepoint().await.unwrap();
    insert(&mut tx, 5).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(entries(&db).await, [4, 5]);
}

async fn parameters_are_numbered_and_counted(fixture: Fixture) {
    let db = fixture.db.clone();
    let row = db
        .query_one("SELECT $2 || $1 || $2 AS joined", params!["a", "b"])
        .await
        .unwrap();
    assert_eq!(row.unwrap().get::<String>("joined").unwrap(), "bab");

    for (sql, given) in [("SELECT $1", 0), ("SELECT $1", 2), ("SELECT 1", 1)] {
        let error = db
            .query(sql, &vec![data::Value::Null; given])
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Parameters { .. }),
            "{sql}: {error:?}"
        );
    }
    for sql in [
        "SELECT ?",
        "SELECT ?1",
        "SELECT :name",
        "SELECT $name",
        "SELECT $0",
    ] {
        let error = db.query(sql, params![1]).await.unwrap_err();
        assert!(
            // PostgreSQL's own parser refuses it.
            matches!(error, Error::ParameterForm { .. } | Error::Statement { .. }),
            "{sql}: {error:?}"
        );
    }
}

async fn a_statement_cannot_end_the_transaction_of_the_group(fixture: Fixture) {
    let db = fixture.db.clone();
    for sql in [
        "COMMIT",
        "end",
        ";; rollback",
        "-- a\nBEGIN",
        "/* b */ SAVEPOINT s",
        "PRAGMA foreign_keys=0",
    ] {
        let mut tx = db.begin().await.unwrap();
        let error = tx.execute(sql, params![]).await.unwrap_err();
        assert!(
            matches!(error, Error::TransactionControl { .. }),
            "{sql}: {error:?}"
        );
    }
}

async fn foreign_keys_are_enforced(fixture: Fixture) {
    let db = fixture.db.clone();
    let sql = "CREATE TABLE child (entry BIGINT NOT NULL REFERENCES entry (id))";
    db.migrate_part("child", &[data::Migration::new(1, "child", sql)])
        .await
        .unwrap();
    let mut tx = db.begin().await.unwrap();
    let error = tx
        .execute("INSERT INTO child VALUES (7)", params![])
        .await
        .unwrap_err();
    let expected = data::error::Kind::ForeignKeyViolation;
    assert!(
        matches!(error, Error::Statement { kind, .. } if kind == expected),
        "{error:?}"
    );
}

async fn changes_wake_at_the_commit_and_miss_none(fixture: Fixture) {
    let db = fixture.db.clone();
    let mut changes = db.changes("news");
    let mut late = changes.clone();
    let silent = async |changes: &mut data::Changes| {
        env::timeout(Duration::from_millis(20), changes.wait())
            .await
            .is_err()
    };

    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, 1).await.unwrap();
    tx.notify("news");
    let mut commit = Box::pin(tx.commit());
    assert!(futures::poll!(&mut commit).is_pending());
    assert!(silent(&mut changes).await, "not durable yet");
    commit.await.unwrap();
    changes.wait().await;
    assert!(silent(&mut changes).await, "once for one commit");
    late.wait().await; // each handle has its own place

    let mut undone = db.begin().await.unwrap();
    undone.notify("news");
    drop(undone);
    assert!(silent(&mut changes).await, "rolled back");
}

#[test]
fn transactions_travel_between_threads() {
    async fn all(db: data::Database) -> data::Result<()> {
        let mut tx = db.begin().await?;
        tx.execute("SELECT 1", params![]).await?;
        tx.receive("group", "message").await?;
        tx.commit().await
    }
    fn compiles(db: data::Database) -> impl Future<Output = data::Result<()>> + Send {
        all(db)
    }
    let _ = compiles;
}

mod running_again {
    use std::{
        fmt,
        sync::atomic::{AtomicU32, Ordering},
    };

    use super::*;

    /// An error of a service's own, which hides what the database said.
    #[derive(Debug)]
    enum Failure {
        Refused,
        Database(#[expect(dead_code, reason = "shown by Debug")] String),
    }

    impl From<Error> for Failure {
        fn from(error: Error) -> Self {
            Self::Database(error.to_string())
        }
    }

    impl fmt::Display for Failure {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{self:?}")
        }
    }

    pub(super) async fn what_a_closure_wrote_is_committed_and_its_value_returned(fixture: Fixture) {
        let db = fixture.db.clone();
        // In a task, because handlers run in tasks: the future must be Send.
        let counted = tokio::spawn(async move {
            let first = &1;
            db.transaction(async |mut tx| {
                insert(&mut tx, *first).await?;
                insert(&mut tx, 2).await
            })
            .await
        });
        assert_eq!(counted.await.unwrap().unwrap(), 1);
        assert_eq!(entries(&fixture.db).await, [1, 2]);
    }

    pub(super) async fn a_closure_that_refuses_is_rolled_back_and_runs_once(fixture: Fixture) {
        let runs = AtomicU32::new(0);
        let outcome: Result<(), Failure> = fixture
            .db
            .transaction(async |mut tx| {
                runs.fetch_add(1, Ordering::Relaxed);
                insert(&mut tx, 1).await?;
                Err(Failure::Refused)
            })
            .await;
        assert!(matches!(outcome, Err(Failure::Refused)), "{outcome:?}");
        assert_eq!(runs.into_inner(), 1);
        assert!(entries(&fixture.db).await.is_empty());
    }

    pub(super) async fn a_statement_that_can_never_succeed_is_not_tried_again(fixture: Fixture) {
        let runs = AtomicU32::new(0);
        let outcome: Result<u64, Failure> = fixture
            .db
            .transaction(async |mut tx| {
                runs.fetch_add(1, Ordering::Relaxed);
                insert(&mut tx, 1).await?;
                Ok(insert(&mut tx, 1).await?)
            })
            .await;
        assert!(matches!(outcome, Err(Failure::Database(_))), "{outcome:?}");
        assert_eq!(runs.into_inner(), 1);
    }
}
