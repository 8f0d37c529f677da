//! Time that is over is over everywhere: commands expire with their saga, children with their parent, and nobody does
//! what nobody waits for any more.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::time::Duration;

use events::{CloudEvent, Handlers, consumer, relay};
use outrigger_saga as saga;
use saga::{CALL_LIMIT, Entry, Outcome, State};
use support::{Errand, Process, STARTER, compensated, listen, simulated};
use tempfile::tempdir;
use tokio_util::sync::{CancellationToken, DropGuard};

const LIMIT: Duration = Duration::from_secs(10);

/// Serves the sagas, while the worker is away.
fn serve_alone(process: &Process) -> DropGuard {
    let stop = CancellationToken::new();
    let (stopped, process) = (stop.clone(), process.clone());
    tokio::spawn(async move {
        let Process {
            bus,
            starter,
            sagas,
            ..
        } = process;
        let handlers = sagas.handlers(Handlers::new());
        let options = consumer::Options::default();
        let (_, _, consumed) = futures::join!(
            relay::run(
                starter.clone(),
                bus.clone(),
                relay::Options::default(),
                stopped.clone()
            ),
            sagas.run_timers(stopped.clone()),
            consumer::run(
                starter.clone(),
                bus.clone(),
                STARTER,
                handlers,
                options,
                stopped.clone()
            ),
        );
        consumed.unwrap();
    });
    stop.drop_guard()
}

async fn start_within(process: &Process, id: &str, steps: &[&str], limit: Duration) {
    let mut tx = process.starter.begin().await.unwrap();
    let errand = Errand::of(steps);
    let started = process.sagas.start_within(&mut tx, id, errand, limit).await;
    started.unwrap();
    tx.commit().await.unwrap();
}

#[test]
fn a_command_that_came_too_late_is_not_done() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        process.start("1", &["a"]).await;
        {
            let _serving = serve_alone(&process);
            env::sleep(CALL_LIMIT + Duration::from_secs(1)).await;
        }
        let _serving = process.spawn();
        let outcome = compensated("timeout", "`saga.work-service.do` did not answer in time.");
        assert_eq!(process.end("1").await, outcome);
        process.start("2", &["b"]).await;
        assert_eq!(process.end("2").await, Outcome::Completed);
        assert_eq!(process.log().await, ["did b"], "neither done nor undone");
    });
}

#[test]
fn a_saga_ends_by_the_time_that_it_was_given_and_what_it_asked_for_with_it() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        {
            let _serving = serve_alone(&process);
            start_within(&process, "1", &["a"], LIMIT).await;
            env::sleep(LIMIT + Duration::from_secs(1)).await;
            let state = process.sagas.status("1").await.unwrap().unwrap().state;
            assert_eq!(state, State::Compensating, "it waits to hear of the call");
        }
        let before = env::instant();
        let _serving = process.spawn();
        let outcome = compensated("deadline", "The saga did not end in time.");
        assert_eq!(process.end("1").await, outcome);
        assert!(
            env::instant() - before < Duration::from_secs(5),
            "it was told that the call expired"
        );
        let expired = |entry: &Entry| matches!(entry, Entry::Refused { failure, .. } if failure.code == "expired");
        let journal = process.sagas.journal("1").await.unwrap();
        assert!(journal.iter().any(expired), "{journal:?}");
        let undone = |entry: &Entry| matches!(entry, Entry::Undoing { .. });
        assert!(
            !journal.iter().any(undone),
            "what was not begun need not be undone: {journal:?}"
        );
        assert!(process.log().await.is_empty());
        let timer = process.starter.next_timer("outrigger_saga").await.unwrap();
        assert_eq!(timer, None);
    });
}

#[test]
fn a_deadline_that_is_met_leaves_no_timer_and_past_the_point_of_no_return_it_has_no_effect() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        start_within(&process, "1", &["a"], LIMIT).await;
        start_within(&process, "2", &["pivot", "sleep", "b"], LIMIT).await;
        assert_eq!(process.end("1").await, Outcome::Completed);
        assert_eq!(process.end("2").await, Outcome::Completed);
        assert_eq!(process.log().await, ["did a", "did b"]);
        let timer = process.starter.next_timer("outrigger_saga").await.unwrap();
        assert_eq!(timer, None);
    });
}

#[test]
fn a_child_inherits_the_deadline_of_its_parent() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        start_within(&process, "1", &["child a sleep b"], LIMIT).await;
        let outcome = compensated("deadline", "The saga did not end in time.");
        assert_eq!(process.end("1").await, outcome);
        process.until("1/0", State::Compensated).await;
        assert_eq!(process.log().await, ["did a", "undid a"]);
        let child = process.sagas.journal("1/0").await.unwrap();
        assert!(child.contains(&Entry::Overdue), "{child:?}");
    });
}

#[test]
fn commands_expire_when_nobody_waits_for_them_and_undos_never() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let mut sent = listen(&process, &["saga.work-service.*"]);
        let _serving = process.spawn();
        start_within(&process, "1", &["a", "refuse b"], LIMIT).await;
        start_within(&process, "2", &["pivot", "c"], LIMIT).await;
        // It sets itself a minute.
        let mut late = vec!["deadline"];
        late.extend(["nap"; 40]);
        late.push("d");
        process.start("3", &late).await;
        for id in ["1", "2", "3"] {
            process.end(id).await;
        }
        let mut all = Vec::new();
        for _ in 0..5 {
            let event: CloudEvent = sent.recv().await.unwrap();
            let expiry = event
                .expirytime
                .map(|expiry| expiry.duration_since(event.time.unwrap()));
            let action = event.kind.rsplit('.').next().unwrap();
            let name = format!("{action} {}", event.data.as_str().unwrap());
            all.push((name, expiry.map(|left| left.as_secs())));
        }
        all.sort();
        let limit = i64::try_from(CALL_LIMIT.as_secs()).unwrap();
        assert_eq!(all[0], ("do a".to_owned(), Some(10)));
        assert_eq!(
            all[1],
            ("do c".to_owned(), Some(limit)),
            "the deadline has no effect"
        );
        assert!(all[2].0 == "do d" && all[2].1 < Some(21), "{all:?}");
        assert_eq!(all[3].0, "do refuse b");
        assert_eq!(all[4], ("undo a".to_owned(), None));
    });
}
