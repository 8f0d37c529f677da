//! Sagas among others: children, signals, operators. Over a database and a bus.

mod support;

use std::time::Duration;

use data::params;
use outrigger_saga as saga;
use saga::{Entry, Error, Outcome, State};
use serde_json::json;
use support::{Process, Rung, compensated, simulated};
use tempfile::tempdir;

#[test]
fn g5_sagas_end_with_their_children() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        process.start("1", &["a", "child b c", "d"]).await;
        assert_eq!(process.end("1").await, Outcome::Completed);
        assert_eq!(process.log().await, ["did a", "did b", "did c", "did d"]);
        assert_eq!(process.end("1/1").await, Outcome::Completed);

        process.start("2", &["e", "child f refuse"]).await;
        let outcome = compensated("no-wish", "I would rather not refuse.");
        assert_eq!(process.end("2").await, outcome);
        assert_eq!(process.end("2/1").await, outcome);
        let log = process.log().await;
        assert_eq!(
            log[4..],
            ["did e", "did f", "refused refuse", "undid f", "undid e"]
        );
    });
}

#[test]
fn g5_a_child_that_completed_is_undone_with_its_parent() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        process.start("1", &["child a b", "refuse c"]).await;
        let outcome = compensated("no-wish", "I would rather not refuse c.");
        assert_eq!(process.end("1").await, outcome);
        let log = ["did a", "did b", "refused refuse c", "undid b", "undid a"];
        assert_eq!(process.log().await, log);
        process.until("1/0", State::Compensated).await;
    });
}

#[test]
fn a_child_that_goes_on_is_undone_when_its_parent_is_cancelled() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        process.start("1", &["a", "child b sleep c"]).await;
        while process.log().await.len() < 2 {
            env::sleep(Duration::from_millis(100)).await;
        }
        for blank in ["", " \t\n"] {
            let cancelled = process.sagas.cancel("1", blank).await;
            let skipped = process.sagas.skip("1", 1, blank, json!(null)).await;
            for refused in [cancelled, skipped] {
                let is_refused = matches!(refused, Err(Error::NoReason { .. }));
                assert!(is_refused, "{blank:?}: {refused:?}");
            }
        }
        process.sagas.cancel("1", "changed my mind").await.unwrap();
        let timeline = process.sagas.journal("1").await.unwrap();
        let told = timeline.iter().map(ToString::to_string);
        let told: Vec<_> = told.filter(|line| line.contains("cancelled")).collect();
        assert_eq!(told, ["cancelled: changed my mind"]);
        let outcome = compensated("cancelled", "changed my mind");
        assert_eq!(process.end("1").await, outcome);
        assert_eq!(
            process.log().await,
            ["did a", "did b", "undid b", "undid a"]
        );
        process.until("1/1", State::Compensated).await;
        let cancelled = process.sagas.cancel("1", "again").await;
        assert!(
            matches!(cancelled, Err(Error::Ended { .. })),
            "{cancelled:?}"
        );
    });
}

#[test]
fn a_signal_reaches_its_saga_before_or_after_it_is_waited_for() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        process.start("1", &["ring"]).await;
        process.start("2", &["a", "sleep", "ring", "ring"]).await;
        process.ring("2", "early").await;
        process.ring("2", "earlier than needed").await;
        process.ring("nobody", "in vain").await;
        env::sleep(Duration::from_secs(1)).await;
        process.ring("1", "late").await;
        assert_eq!(process.end("1").await, Outcome::Completed);
        assert_eq!(process.end("2").await, Outcome::Completed);
        let log = process.log().await;
        assert_eq!(
            log,
            ["did a", "did late", "did early", "did earlier than needed"]
        );

        let before = env::now() + Duration::from_secs(1);
        assert_eq!(
            process.sagas.forget(before).await.unwrap(),
            3,
            "two sagas, one signal"
        );
        for table in ["mailboxes", "signals", "waits"] {
            let count = format!("SELECT count(*) FROM outrigger_saga_{table}");
            let row = process.starter.query_one(&count, params![]).await.unwrap();
            assert_eq!(row.unwrap().get::<i64>(0).unwrap(), 0, "{table}");
        }
    });
}

#[test]
fn a_signal_goes_to_no_wait_that_the_code_has_dropped() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        process.start("1", &["glance", "ring"]).await;
        env::sleep(Duration::from_hours(1) + Duration::from_secs(5)).await;
        process.ring("1", "late").await;
        assert_eq!(process.end("1").await, Outcome::Completed);
        assert_eq!(process.log().await, ["did late"]);
    });
}

#[test]
fn a_signal_that_does_not_come_in_time_is_a_failure_and_comes_too_late() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        process.start("1", &["a", "ring"]).await;
        let outcome = compensated("timeout", "`bell.rung` did not answer in time.");
        assert_eq!(process.end("1").await, outcome);
        let rung = Rung {
            bell: "1".to_owned(),
            by: "late".to_owned(),
        };
        let mut tx = process.starter.begin().await.unwrap();
        process.sagas.signal(&mut tx, "1", &rung).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(process.end("1").await, outcome);
    });
}

#[test]
fn a_saga_ends_by_its_deadline_and_leaves_no_timer() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        process.start("1", &["deadline", "a", "sleep", "b"]).await;
        process.start("2", &["deadline", "c"]).await;
        let outcome = compensated("deadline", "The saga did not end in time.");
        assert_eq!(process.end("1").await, outcome);
        assert_eq!(process.end("2").await, Outcome::Completed);
        assert_eq!(process.log().await, ["did a", "did c", "undid a"]);
        let timer = process.starter.next_timer("outrigger_saga").await.unwrap();
        assert_eq!(timer, None);
    });
}

#[test]
fn past_its_point_of_no_return_a_saga_cannot_be_cancelled_but_a_step_skipped() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        process.start("1", &["a", "pivot", "refuse b", "c"]).await;
        process.until("1", State::Parked).await;
        let cancelled = process.sagas.cancel("1", "no").await;
        assert!(
            matches!(cancelled, Err(Error::PastReturn { .. })),
            "{cancelled:?}"
        );
        let skip = async |seq| process.sagas.skip("1", seq, "done by hand", json!(1)).await;
        let wrong = skip(0).await;
        assert!(
            matches!(wrong, Err(Error::NotWaiting { seq: 0, .. })),
            "{wrong:?}"
        );
        skip(2).await.unwrap();
        process.until("1", State::Completed).await;
        assert_eq!(process.log().await.last().unwrap(), "did c");
        let timeline = process.sagas.timeline("1").await.unwrap();
        assert!(timeline.is_sorted_by_key(|event| event.time));
        let skipped = |event: &saga::Event| matches!(&event.entry, Entry::Skipped { reason, .. } if reason == "done by hand");
        assert!(timeline.iter().any(skipped), "{timeline:?}");
    });
}

#[test]
fn a_compensation_that_fails_holds_up_no_other_saga() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        // The undo of a step whose name begins so never succeeds.
        process.start("1", &["stubborn", "refuse x"]).await;
        let mut waits = Vec::new();
        for other in 0..20 {
            let id = format!("other-{other}");
            process.start(&id, &["a", "nap", "refuse b"]).await;
            let before = env::instant();
            let outcome = compensated("no-wish", "I would rather not refuse b.");
            assert_eq!(process.end(&id).await, outcome);
            waits.push(env::instant() - before);
        }
        assert!(
            waits.iter().max() < Some(&Duration::from_secs(5)),
            "{waits:?}"
        );
        let status = process.sagas.status("1").await.unwrap().unwrap();
        assert_eq!(status.state, State::Compensating);
        process.until("1", State::Parked).await;
        let undo = process.sagas.journal("1").await.unwrap();
        let undo = undo.iter().rev().find_map(Entry::made_at).unwrap();
        process
            .sagas
            .skip("1", undo, "undone by hand", json!(null))
            .await
            .unwrap();
        process.until("1", State::Compensated).await;
    });
}
