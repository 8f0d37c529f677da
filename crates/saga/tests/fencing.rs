//! Who was overtaken changes nothing: the epoch of a saga fences its state, whatever the isolation of the database is.
//!
//! On both engines a transaction that another one overtook is refused before it comes to the epoch. So a trigger stands
//! in for the other owner here: it takes the saga in the middle of a step.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use data::params;
use outrigger_saga as saga;
use saga::{Entry, Error, Outcome, State, Status};
use servers::Postgres;
use support::{Process, simulated};
use tempfile::tempdir;

const SQLITE: [&str; 1] = ["
    CREATE TRIGGER overtake AFTER INSERT ON outrigger_saga_journal BEGIN
        UPDATE outrigger_sagas SET epoch = epoch + 1 WHERE id = NEW.saga_id;
    END"];

const POSTGRES: [&str; 2] = [
    "CREATE FUNCTION overtake() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE outrigger_sagas SET epoch = epoch + 1 WHERE id = NEW.saga_id;
        RETURN NULL;
    END $$",
    "CREATE TRIGGER overtake AFTER INSERT ON outrigger_saga_journal FOR EACH ROW EXECUTE FUNCTION overtake()",
];

async fn run(process: &Process, statements: &[&str]) {
    let mut tx = process.starter.begin().await.unwrap();
    for statement in statements {
        tx.execute(statement, params![]).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// All that is known of saga 1, and how many commands wait to be sent.
async fn known(process: &Process) -> (Status, Vec<Entry>, u64) {
    let status = process.sagas.status("1").await.unwrap().unwrap();
    let journal = process.sagas.journal("1").await.unwrap();
    let backlog = process.starter.outbox_backlog().await.unwrap();
    (status, journal, backlog)
}

/// Each way in which somebody acts on a saga, by one who was overtaken. The saga waits for its bell.
async fn nothing_is_changed_by_who_was_overtaken(
    process: Process,
    overtake: &[&str],
    let_go: &str,
) {
    process.start("1", &["ring", "a"]).await;
    let before = known(&process).await;
    run(&process, overtake).await;

    let rung = support::Rung {
        bell: "1".to_owned(),
        by: "a".to_owned(),
    };
    let signalled = process
        .starter
        .transaction(async |mut tx| process.sagas.signal(&mut tx, "1", &rung).await);
    let acted = [
        signalled.await,
        process.sagas.resume("1").await,
        process.sagas.cancel("1", "no").await,
        process
            .sagas
            .skip("1", 0, "known", serde_json::json!(rung))
            .await,
    ];
    for acted in acted {
        assert!(matches!(acted, Err(Error::Overtaken { .. })), "{acted:?}");
    }
    assert_eq!(
        known(&process).await,
        before,
        "not even the time of the last change"
    );

    run(&process, &[let_go]).await;
    process.sagas.cancel("1", "no").await.unwrap();
    let (status, journal, _) = known(&process).await;
    assert_eq!(status.state, State::Compensated);
    let cancelled = |entry: &&Entry| matches!(entry, Entry::Cancelled { .. });
    assert_eq!(journal.iter().filter(cancelled).count(), 1, "{journal:?}");
    assert!(matches!(process.end("1").await, Outcome::Compensated(_)));
}

#[test]
fn who_was_overtaken_changes_nothing_on_sqlite() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        nothing_is_changed_by_who_was_overtaken(process, &SQLITE, "DROP TRIGGER overtake").await;
    });
}

#[tokio::test]
async fn who_was_overtaken_changes_nothing_on_postgresql() {
    let server = Postgres::start().await.unwrap();
    let folder = tempdir().unwrap();
    let starter = server.database("starter").await.unwrap();
    let worker = server.database("worker").await.unwrap();
    let process = Process::on(folder.path(), &starter, &worker).await;
    let let_go = "DROP TRIGGER overtake ON outrigger_saga_journal";
    nothing_is_changed_by_who_was_overtaken(process, &POSTGRES, let_go).await;
}
