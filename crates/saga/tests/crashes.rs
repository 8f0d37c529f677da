//! G5: wherever the process is killed, the saga ends as it would have.

mod support;

use std::{future::poll_fn, path::Path, task::Poll};

use outrigger_saga as saga;
use saga::{Error, Outcome};
use support::{Errand, Process, compensated, simulated};
use tempfile::tempdir;
use tokio_util::sync::CancellationToken;

/// Polls `future` at most `polls` times, and then drops it with everything that it holds; whether it came to its end.
async fn crash_after<F: Future>(polls: usize, future: F) -> bool {
    let mut future = Box::pin(future);
    let mut left = polls;
    poll_fn(|cx| {
        if future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        Poll::Pending
    })
    .await
}

/// A whole life of the process: the saga is asked for, and its end is waited for.
async fn live(folder: &Path, steps: &[&str]) -> Outcome {
    let process = Process::open(folder).await;
    let stop = CancellationToken::new();
    let ask = async {
        let mut tx = process.starter.begin().await.expect("a transaction");
        match process.sagas.start(&mut tx, "1", Errand::of(steps)).await {
            Ok(()) => tx.commit().await.expect("committed"),
            Err(Error::AlreadyStarted { .. }) => drop(tx),
            Err(error) => panic!("{error:?}"),
        }
        process.end("1").await
    };
    tokio::select! {
        biased;
        outcome = ask => outcome,
        () = process.clone().serve(stop.clone()) => panic!("it serves until it is stopped"),
    }
}

/// Kills the process at every moment of its life, once each, and then lets another finish what it began.
fn killed_anywhere(steps: &[&str], outcome: &Outcome, log: &[&str]) {
    for polls in 0.. {
        let survived = simulated(async {
            let folder = tempdir().expect("a folder");
            let survived = crash_after(polls, live(folder.path(), steps)).await;
            assert_eq!(
                &live(folder.path(), steps).await,
                outcome,
                "killed at {polls}"
            );
            let process = Process::open(folder.path()).await;
            assert_eq!(process.log().await, log, "killed at {polls}");
            survived
        });
        if survived {
            assert!(polls > 20, "there must be more moments than {polls}");
            return;
        }
    }
}

#[test]
fn g5_sagas_end_completed_wherever_the_process_is_killed() {
    let log = ["did a", "did b", "did c"];
    killed_anywhere(&["a", "b", "nap", "c"], &Outcome::Completed, &log);
}

#[test]
fn g5_sagas_end_compensated_wherever_the_process_is_killed() {
    let outcome = compensated("no-wish", "I would rather not refuse c.");
    let log = ["did a", "did b", "refused refuse c", "undid b", "undid a"];
    killed_anywhere(&["a", "b", "refuse c"], &outcome, &log);
}

#[test]
fn g5_sagas_end_after_many_crashes() {
    let outcome = compensated("no-wish", "I would rather not refuse c.");
    let log = ["did a", "did b", "refused refuse c", "undid b", "undid a"];
    let steps = ["a", "b", "refuse c"];
    for polls in 3..12 {
        simulated(async {
            let folder = tempdir().expect("a folder");
            let mut lives = 0;
            // Each life gets a little further than the one before.
            while !crash_after(polls + lives, live(folder.path(), &steps)).await {
                lives += 1;
            }
            assert!(lives > 1);
            let process = Process::open(folder.path()).await;
            assert_eq!(process.end("1").await, outcome);
            assert_eq!(process.log().await, log);
        });
    }
}
