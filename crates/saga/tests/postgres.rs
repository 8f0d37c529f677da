//! The same on PostgreSQL, with several replicas that truly run at the same time.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::{collections::BTreeMap, time::Duration};

use data::params;
use outrigger_saga as saga;
use saga::{Entry, Error, Outcome, State};
use servers::Postgres;
use support::{Process, compensated};
use tempfile::tempdir;

const REPLICAS: usize = 3;
const SAGAS: usize = 24;

/// Replicas of one service and its worker on one server and one bus.
async fn replicas(server: &Postgres, count: usize) -> (tempfile::TempDir, Vec<Process>) {
    let folder = tempdir().unwrap();
    let (starter, worker) = (
        server.database("starter").await.unwrap(),
        server.database("worker").await.unwrap(),
    );
    let mut replicas = Vec::new();
    for _ in 0..count {
        replicas.push(Process::on(folder.path(), &starter, &worker).await);
    }
    (folder, replicas)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_drive_each_saga_once() {
    let server = Postgres::start().await.unwrap();
    let (_folder, replicas) = replicas(&server, REPLICAS).await;
    // One takes the replies from the bus; each acts on timers, starts sagas, and brings signals to all.
    let _serving = replicas[0].spawn();
    let _timing: Vec<_> = replicas[1..].iter().map(Process::spawn_timers).collect();
    for number in 0..SAGAS {
        let (id, done, refused) = (
            number.to_string(),
            format!("a{number}"),
            format!("refuse{number}"),
        );
        let steps = ["nap", "ring", "nap", &format!("child {done}"), &refused];
        replicas[number % REPLICAS].start(&id, &steps).await;
        replicas[(number + 1) % REPLICAS]
            .ring(&id, &format!("b{number}"))
            .await;
    }
    for number in 0..SAGAS {
        let outcome = compensated("no-wish", &format!("I would rather not refuse{number}."));
        let replica = &replicas[number % REPLICAS];
        assert_eq!(replica.end(&number.to_string()).await, outcome);
        let journal = replica.sagas.journal(&number.to_string()).await.unwrap();
        let made: Vec<_> = journal.iter().filter_map(Entry::made_at).collect();
        let expected: Vec<u32> = (0..made.len() as u32).collect();
        assert_eq!(made, expected, "each step is made once: {journal:?}");
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in replicas[0].log().await {
        *counts.entry(line).or_default() += 1;
    }
    assert_eq!(counts.len(), SAGAS * 5, "{counts:?}");
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}

/// `cargo test -p outrigger-saga --test postgres -- --nocapture heard` says how soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "a figure for whoever asks")]
async fn an_end_is_heard_on_every_replica() {
    let server = Postgres::start().await.unwrap();
    let (_folder, replicas) = replicas(&server, 2).await;
    let [one, other] = &replicas[..] else {
        panic!("two replicas");
    };
    let _serving = one.spawn();
    let ids: Vec<_> = (0..SAGAS).map(|number| number.to_string()).collect();
    let ends = futures::future::join_all(ids.iter().map(|id| async {
        one.start(id, &["nap", "a", "nap", "b"]).await;
        let heard = async |replica: &Process| (replica.end(id).await, env::instant());
        futures::join!(heard(one), heard(other))
    }));
    let mut later = Vec::new();
    for ((here, at), (there, heard)) in ends.await {
        assert_eq!((&here, &there), (&Outcome::Completed, &Outcome::Completed));
        later.push(heard.saturating_duration_since(at));
    }
    later.sort_unstable();
    let (half, last) = (later[SAGAS / 2], later[SAGAS - 1]);
    println!("heard on the other replica {half:?} later at the median, {last:?} at most");
}

#[tokio::test]
async fn who_was_overtaken_changes_nothing() {
    let server = Postgres::start().await.unwrap();
    let (_folder, replicas) = replicas(&server, 2).await;
    let [one, other] = &replicas[..] else {
        panic!("two replicas");
    };
    one.start("1", &["ring"]).await;
    // The one begins to act on what it has read, and is held up; the other acts meanwhile.
    let rung = support::Rung {
        bell: "1".to_owned(),
        by: "a".to_owned(),
    };
    let mut stale = one.starter.begin().await.unwrap();
    let read = "SELECT state FROM outrigger_sagas WHERE id = '1'";
    stale.query(read, params![]).await.unwrap();
    other.sagas.cancel("1", "meanwhile").await.unwrap();
    let acted = one.sagas.signal(&mut stale, "1", &rung).await;
    assert!(
        matches!(&acted, Err(error @ Error::Database(_)) if error.is_retryable()),
        "{acted:?}"
    );
    stale.rollback().await.unwrap();
    let state = one.sagas.status("1").await.unwrap().unwrap().state;
    assert_eq!(state, State::Compensated);
    let journal = one.sagas.journal("1").await.unwrap();
    let signalled = |entry: &Entry| matches!(entry, Entry::Signalled { .. });
    assert!(!journal.iter().any(signalled), "{journal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_and_a_wait_that_cross_meet() {
    let server = Postgres::start().await.unwrap();
    let (_folder, replicas) = replicas(&server, 2).await;
    let [one, other] = &replicas[..] else {
        panic!("two replicas");
    };
    let _serving = one.spawn();
    for number in 0..SAGAS {
        let id = number.to_string();
        let name = format!("by {number}");
        let ring = async {
            let rung = support::Rung {
                bell: id.clone(),
                by: name.clone(),
            };
            let signal = other
                .starter
                .transaction(async |mut tx| other.sagas.signal(&mut tx, &id, &rung).await);
            signal.await.unwrap();
        };
        let begin = async {
            let begun = one.starter.transaction(async |mut tx| {
                let errand = support::Errand::of(&["ring"]);
                one.sagas.start(&mut tx, &id, errand).await
            });
            begun.await.unwrap();
        };
        futures::join!(ring, begin);
        let end = env::timeout(Duration::from_secs(30), one.end(&id)).await;
        assert_eq!(end.unwrap(), Outcome::Completed);
    }
    let count = "SELECT count(*) FROM outrigger_saga_mailboxes";
    let row = one.starter.query_one(count, params![]).await.unwrap();
    assert_eq!(row.unwrap().get::<i64>(0).unwrap(), 0);
}
