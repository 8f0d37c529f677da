//! Several processes of the service on one database: a saga is driven by one at a time, and by whoever is there.

mod support;

use std::{collections::BTreeMap, time::Duration};

use outrigger_saga as saga;
use saga::{Entry, Outcome};
use support::{Process, compensated, simulated};
use tempfile::tempdir;

const SAGAS: usize = 30;

/// How often each thing was done.
async fn counts(process: &Process) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in process.log().await {
        *counts.entry(line).or_default() += 1;
    }
    counts
}

#[test]
fn two_replicas_drive_each_saga_once() {
    simulated(async {
        let folder = tempdir().unwrap();
        let (one, other) = (
            Process::open(folder.path()).await,
            Process::open(folder.path()).await,
        );
        // Both act on every timer that is due; replies come to one of them.
        let _serving = one.spawn();
        let sagas = other.sagas.clone();
        let stop = tokio_util::sync::CancellationToken::new();
        let _stopped = stop.clone().drop_guard();
        tokio::spawn(async move { sagas.run_timers(stop).await });
        for number in 0..SAGAS {
            let (done, refused) = (format!("a{number}"), format!("refuse{number}"));
            let steps = ["nap", &done, "nap", "nap", &refused];
            let starter = if number % 2 == 0 { &one } else { &other };
            starter.start(&number.to_string(), &steps).await;
        }
        for number in 0..SAGAS {
            let outcome = compensated("no-wish", &format!("I would rather not refuse{number}."));
            let waiter = if number % 3 == 0 { &one } else { &other };
            assert_eq!(waiter.end(&number.to_string()).await, outcome);
            let journal = one.sagas.journal(&number.to_string()).await.unwrap();
            let made: Vec<_> = journal.iter().filter_map(Entry::made_at).collect();
            let expected: Vec<u32> = (0..made.len() as u32).collect();
            assert_eq!(made, expected, "each step is made once: {journal:?}");
        }
        let counts = counts(&one).await;
        assert_eq!(counts.len(), SAGAS * 3);
        assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    });
}

#[test]
fn what_one_replica_has_begun_another_ends_at_once() {
    simulated(async {
        let folder = tempdir().unwrap();
        let other = Process::open(folder.path()).await;
        {
            let one = Process::open(folder.path()).await;
            let serving = one.spawn();
            one.start("1", &["a", "nap", "b"]).await;
            while other.log().await.is_empty() {
                env::sleep(Duration::from_millis(10)).await;
            }
            drop(serving);
        }
        let _serving = other.spawn();
        let before = env::instant();
        assert_eq!(other.end("1").await, Outcome::Completed);
        assert!(env::instant() - before < Duration::from_secs(5));
        assert_eq!(other.log().await, ["did a", "did b"]);
    });
}
