//! Sagas over a database and a bus: how they end, and what is seen of them.

mod support;

use std::{future::pending, time::Duration};

use data::{Transaction, params};
use env::RequestContext;
use events::{CloudEvent, DeadLetters, Handlers, dead_letters::Filter};
use outrigger_saga as saga;
use saga::{Entry, Error, Outcome, State, command};
use support::{Do, Errand, Process, STARTER, Undo, compensated, listen, simulated};
use tempfile::tempdir;
use tokio_util::sync::CancellationToken;

#[test]
fn g5_sagas_end_completed() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        let mut ends = listen(&process, &["order.saga.*"]);
        process.start("1", &["a", "b", "c"]).await;
        let before = env::instant();
        assert_eq!(process.end("1").await, Outcome::Completed);
        assert!(
            env::instant() - before < Duration::from_millis(200),
            "woken, not by looking again"
        );
        assert_eq!(process.log().await, ["did a", "did b", "did c"]);
        let end = ends.recv().await.unwrap();
        assert_eq!(
            (end.kind.as_str(), end.key()),
            ("order.saga.completed", "1")
        );
        assert_eq!(end.source, STARTER);
        let timers = process.starter.next_timer("outrigger_saga").await;
        assert_eq!(
            timers.unwrap(),
            None,
            "an answered call leaves no timer behind"
        );
    });
}

#[test]
fn g5_sagas_end_compensated_in_reverse_and_a_refusal_commits() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        let mut ends = listen(&process, &["order.saga.*"]);
        process.start("1", &["a", "b", "refuse c", "d"]).await;
        let outcome = compensated("no-wish", "I would rather not refuse c.");
        assert_eq!(process.end("1").await, outcome);
        let log = ["did a", "did b", "refused refuse c", "undid b", "undid a"];
        assert_eq!(process.log().await, log);
        let end = ends.recv().await.unwrap();
        assert_eq!(end.kind, "order.saga.compensated");
        assert_eq!(end.data["failure"]["code"], "no-wish");
    });
}

#[test]
fn g5_sagas_end_even_if_a_step_never_answers() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        process.start("1", &["a", "fail b"]).await;
        // The command has become a dead letter, and holds the undo that comes after it.
        let Outcome::Parked { reason } = process.end("1").await else {
            panic!("not parked");
        };
        assert!(
            reason.contains("look for it among the dead letters"),
            "{reason}"
        );
        let parked = process.sagas.list(State::Parked, 10).await.unwrap();
        assert_eq!(parked[0].parked.as_ref(), Some(&reason));
        assert_eq!(process.log().await, ["did a"]);

        // An operator drops it, and the saga goes on by itself.
        let dead_letters = DeadLetters::of(&process.worker);
        let dropped = dead_letters.drop(&Filter::default()).await.unwrap();
        assert_eq!(dropped, 1);
        let compensating = async {
            while process
                .sagas
                .list(State::Compensated, 1)
                .await
                .unwrap()
                .is_empty()
            {
                env::sleep(Duration::from_millis(100)).await;
            }
        };
        env::timeout(Duration::from_mins(1), compensating)
            .await
            .unwrap();
        let outcome = compensated("timeout", "`saga.work-service.do` did not answer in time.");
        assert_eq!(process.end("1").await, outcome);
        assert_eq!(
            process.log().await,
            ["did a", "undid a"],
            "what never happened is not undone"
        );
    });
}

#[test]
fn a_dead_letter_under_the_sagas_id_does_not_hold_back_the_replies() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        let mut poison = CloudEvent::new(format!("saga.{STARTER}.reply"), "1", "what?".into());
        poison.source = "by-hand".to_owned();
        process.bus.publish(vec![poison]).await.unwrap();
        let dead_letters = DeadLetters::of(&process.starter);
        let list = async || {
            let page = dead_letters.list(&Filter::default(), None, 1).await;
            page.unwrap().dead_letters
        };
        while list().await.is_empty() {
            env::sleep(Duration::from_millis(10)).await;
        }
        process.start("1", &["a", "b"]).await;
        assert_eq!(process.end("1").await, Outcome::Completed);
    });
}

#[test]
fn a_sleep_outlives_the_process() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        process.start("1", &["a", "sleep", "b"]).await;
        for _ in 0..5 {
            let process = Process::open(folder.path()).await;
            let life = Box::pin(process.serve(CancellationToken::new()));
            env::timeout(Duration::from_mins(10), life)
                .await
                .unwrap_err();
        }
        assert_eq!(process.log().await, ["did a"]);
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        let before = env::now();
        assert_eq!(process.end("1").await, Outcome::Completed);
        let minutes = env::now().duration_since(before).as_mins();
        assert!((9..=10).contains(&minutes), "{minutes}");
    });
}

#[test]
fn waiting_ends_at_its_limit() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        process.start("1", &["a"]).await;
        let before = env::instant();
        let limit = Duration::from_secs(3);
        assert_eq!(process.sagas.wait("1", limit).await.unwrap(), None);
        assert_eq!(env::instant() - before, limit);
        let unknown = process.sagas.wait("2", limit).await;
        assert!(
            matches!(unknown, Err(Error::NotFound { .. })),
            "{unknown:?}"
        );
    });
}

#[test]
fn a_saga_is_started_once_and_with_its_transaction_or_not_at_all() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let start = async |tx: &mut Transaction, id: &str| {
            process.sagas.start(tx, id, Errand::of(&["a"])).await
        };
        let mut tx = process.starter.begin().await.unwrap();
        start(&mut tx, "1").await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!(process.sagas.status("1").await.unwrap(), None);
        assert_eq!(process.starter.outbox_backlog().await.unwrap(), 0);

        let mut tx = process.starter.begin().await.unwrap();
        start(&mut tx, "1").await.unwrap();
        let again = start(&mut tx, "1").await;
        assert!(
            matches!(again, Err(Error::AlreadyStarted { .. })),
            "{again:?}"
        );
        start(&mut tx, "2").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(process.starter.outbox_backlog().await.unwrap(), 2);
        let long = "x".repeat(saga::ID_LIMIT + 1);
        let mut tx = process.starter.begin().await.unwrap();
        for id in ["", &long, "a\0b"] {
            let invalid = start(&mut tx, id).await;
            assert!(
                matches!(invalid, Err(Error::InvalidId { .. })),
                "{invalid:?}"
            );
        }
    });
}

#[test]
fn g5_a_saga_whose_journal_cannot_be_read_is_parked_and_forgets_nothing_meanwhile() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        process.start("1", &["a", "sleep", "b"]).await;
        process.start("2", &["c"]).await;
        let write = async |entry: &str| {
            let mut tx = process.starter.begin().await.unwrap();
            let sql =
                "UPDATE outrigger_saga_journal SET entry = $1 WHERE saga_id = '1' AND position = 0";
            tx.execute(sql, params![entry]).await.unwrap();
            tx.commit().await.unwrap();
        };
        let called = process.sagas.journal("1").await.unwrap();
        // By a version that is newer, and was rolled back.
        write(r#"{"entry":"called-by-pigeon","seq":0}"#).await;
        let _serving = process.spawn();
        process.until("1", State::Parked).await;
        assert_eq!(process.end("2").await, Outcome::Completed);
        let parked = process.sagas.list(State::Parked, 10).await.unwrap();
        let reason = parked[0].parked.as_deref().unwrap();
        assert!(
            reason.starts_with(
                "line 0 of the journal cannot be read: unknown variant `called-by-pigeon`"
            ),
            "{reason}"
        );
        let timeline = process.sagas.timeline("1").await.unwrap();
        assert!(
            matches!(timeline[0].entry, Entry::Unreadable { .. }),
            "{timeline:?}"
        );
        process.sagas.resume("1").await.unwrap();
        process.until("1", State::Parked).await;
        assert_eq!(process.log().await, ["did a", "did c"]);

        write(&serde_json::to_string(&called[0]).unwrap()).await;
        process.sagas.resume("1").await.unwrap();
        assert_eq!(process.end("1").await, Outcome::Completed);
        assert_eq!(process.log().await, ["did a", "did c", "did b"]);
        let dead = DeadLetters::of(&process.starter);
        let page = dead.list(&Filter::default(), None, 1).await.unwrap();
        assert!(page.dead_letters.is_empty(), "{page:?}");
    });
}

#[test]
fn a_saga_whose_function_is_gone_is_parked_and_goes_on_when_it_is_back() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        process.start("1", &["a", "b"]).await;

        let process = Process::knowing_nothing(folder.path()).await;
        let serving = process.spawn();
        let reason = "the service has no saga `errand`: register its function".to_owned();
        assert_eq!(process.end("1").await, Outcome::Parked { reason });
        let mut tx = process.starter.begin().await.unwrap();
        let unknown = process.sagas.start(&mut tx, "2", Errand::of(&[])).await;
        assert!(
            matches!(unknown, Err(Error::NotRegistered { .. })),
            "{unknown:?}"
        );
        drop((tx, serving));

        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        process.sagas.resume("1").await.unwrap();
        let ended = async {
            while process.end("1").await != Outcome::Completed {
                env::sleep(Duration::from_millis(100)).await;
            }
        };
        env::timeout(Duration::from_mins(1), ended).await.unwrap();
        assert_eq!(process.log().await, ["did a", "did b"]);
        let ended = process.sagas.resume("1").await;
        assert!(matches!(ended, Err(Error::Ended { .. })), "{ended:?}");
        let unknown = process.sagas.resume("2").await;
        assert!(
            matches!(unknown, Err(Error::NotFound { .. })),
            "{unknown:?}"
        );
    });
}

#[test]
fn a_command_that_is_too_large_parks_the_saga_and_stops_nobody_else() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        let huge = "x".repeat(events::envelope::SIZE_LIMIT);
        process.start("1", &["nap", &huge]).await;
        process.start("2", &["nap", "a"]).await;
        let Outcome::Parked { reason } = process.end("1").await else {
            panic!("not parked");
        };
        assert!(reason.starts_with("a command cannot be sent: "), "{reason}");
        assert_eq!(process.end("2").await, Outcome::Completed);
    });
}

#[test]
fn status_and_journal_tell_how_far_a_saga_is() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let context = RequestContext::correlated("request-7");
        context.scope(process.start("1", &["a"])).await;
        let status = process.sagas.status("1").await.unwrap().unwrap();
        assert_eq!(
            (status.saga.as_str(), status.state),
            ("errand", State::Running)
        );
        assert_eq!(status.correlation_id, "request-7");
        assert_eq!(status.outcome(), None);
        let running = process.sagas.list(State::Running, 10).await.unwrap();
        assert_eq!(running.len(), 1);
        let journal = process.sagas.journal("1").await.unwrap();
        assert!(
            matches!(&journal[..], [Entry::Called { seq: 0, .. }]),
            "{journal:?}"
        );
    });
}

#[test]
fn only_what_has_ended_is_forgotten() {
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let _serving = process.spawn();
        for (id, step) in [("1", "a"), ("2", "refuse b"), ("3", "sleep"), ("4", "a")] {
            process.start(id, &[step]).await;
            if step != "sleep" {
                process.end(id).await;
            }
            env::sleep(Duration::from_secs(1)).await;
        }
        let before_the_last = env::now() - Duration::from_millis(1500);
        assert_eq!(process.sagas.forget(before_the_last).await.unwrap(), 2);
        for (id, stays) in [("1", false), ("2", false), ("3", true), ("4", true)] {
            assert_eq!(process.sagas.status(id).await.unwrap().is_some(), stays);
            assert_eq!(process.sagas.journal(id).await.unwrap().is_empty(), !stays);
        }
    });
}

#[test]
fn a_handler_may_prepare_before_its_transaction() {
    async fn prepare(Do(name): Do, id: String) -> Result<String, env::BoxError> {
        Ok(format!(
            "{name} by {}",
            if id.is_empty() { "nobody" } else { "id" }
        ))
    }
    async fn work(tx: &mut Transaction, _: Do, prepared: String) -> Result<u32, command::Error> {
        let insert = "INSERT INTO log (entry) VALUES ($1)";
        tx.execute(insert, params![prepared]).await?;
        Ok(1)
    }
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let commands = command::handle_prepared::<Do, _, _, _, _>(Handlers::new(), prepare, work);
        tokio::spawn(
            process
                .clone()
                .serve_with(commands, CancellationToken::new()),
        );
        process.start("1", &["a"]).await;
        assert_eq!(process.end("1").await, Outcome::Completed);
        assert_eq!(process.log().await, ["a by id"]);
    });
}

#[test]
fn a_command_that_nobody_waits_for_is_done_all_the_same() {
    async fn work(tx: &mut Transaction, Undo(name): Undo) -> Result<(), command::Error> {
        tx.execute("INSERT INTO log (entry) VALUES ($1)", params![name])
            .await?;
        Ok(())
    }
    simulated(async {
        let folder = tempdir().unwrap();
        let process = Process::open(folder.path()).await;
        let commands = command::handle::<Undo, _>(Handlers::new(), work);
        tokio::spawn(
            process
                .clone()
                .serve_with(commands, CancellationToken::new()),
        );
        let mut event = CloudEvent::new(command::topic::<Undo>(), "1", "a".into());
        event.source = "by-hand".to_owned();
        process.bus.publish(vec![event]).await.unwrap();
        let done = async {
            while process.log().await != ["a"] {
                env::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = done => {}
            () = env::sleep(Duration::from_mins(1)) => panic!("not done"),
            () = pending() => {}
        }
    });
}
