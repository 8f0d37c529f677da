//! Several processes of the orchestrating service on PostgreSQL and NATS, one of which is killed in the middle.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::{
    collections::BTreeMap,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use events::NatsBus;
use outrigger_saga as saga;
use saga::{Entry, Outcome};
use servers::{Nats, Postgres, nats};
use support::{Process, compensated};
use tempfile::tempdir;
use tokio_util::sync::CancellationToken;

const REPLICAS: usize = 3;
const SAGAS: usize = 24;
/// How long the sagas may take after the kill, on a busy machine: what the dead process had taken from the bus comes
/// again after a second.
const TAKEOVER: Duration = Duration::from_secs(45);
/// Where a process finds its databases and its bus.
const PLACES: [&str; 3] = ["REPLICA_STARTER", "REPLICA_WORKER", "REPLICA_BUS"];

/// A process of the service and of its worker. It does nothing yet.
async fn process(folder: &tempfile::TempDir, [starter, worker, bus]: &[String; 3]) -> Process {
    let bus = NatsBus::connect(bus, events::nats::Options::default()).await;
    Process {
        bus: Arc::new(bus.unwrap()),
        ..Process::on(folder.path(), starter, worker).await
    }
}

/// What the other test starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it is a process of the other test"]
async fn a_replica() {
    let places = PLACES.map(|name| std::env::var(name).unwrap());
    let folder = tempdir().unwrap();
    let process = process(&folder, &places).await;
    process.serve(CancellationToken::new()).await;
}

/// A process that dies with its handle.
struct Replica(Child);

impl Replica {
    fn start(places: &[String; 3]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "a_replica"]);
        command.envs(PLACES.iter().zip(places));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g5_sagas_end_once_when_one_of_three_processes_is_killed() {
    let postgres = Postgres::start().await.unwrap();
    let nats = Nats::start(nats::Options::default()).await.unwrap();
    let places = [
        postgres.database("starter").await.unwrap(),
        postgres.database("worker").await.unwrap(),
        format!("{}?lease=1", nats.url()),
    ];
    let folder = tempdir().unwrap();
    let looking = process(&folder, &places).await;
    let mut replicas: Vec<Replica> = (0..REPLICAS).map(|_| Replica::start(&places)).collect();
    for number in 0..SAGAS {
        let steps = [
            format!("a{number}"),
            "nap".to_owned(),
            format!("child b{number}"),
            "nap".to_owned(),
            match number % 2 {
                0 => format!("c{number}"),
                _ => format!("refuse{number}"),
            },
        ];
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        looking.start(&number.to_string(), &steps).await;
    }
    let under_way = async {
        while looking.log().await.len() < SAGAS {
            env::sleep(Duration::from_millis(20)).await;
        }
    };
    env::timeout(Duration::from_secs(60), under_way)
        .await
        .unwrap();
    replicas.remove(0).kill();
    let killed = env::instant();
    for number in 0..SAGAS {
        let id = number.to_string();
        let end = looking
            .sagas
            .wait(&id, Duration::from_secs(60))
            .await
            .unwrap();
        let expected = match number % 2 {
            0 => Outcome::Completed,
            _ => compensated("no-wish", &format!("I would rather not refuse{number}.")),
        };
        assert_eq!(end, Some(expected), "saga {id}");
        let journal = looking.sagas.journal(&id).await.unwrap();
        let made: Vec<_> = journal.iter().filter_map(Entry::made_at).collect();
        let each_once: Vec<u32> = (0..made.len() as u32).collect();
        assert_eq!(made, each_once, "each step is made once: {journal:?}");
    }
    let took = env::instant() - killed;
    assert!(took < TAKEOVER, "{took:?}");
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in looking.log().await {
        *counts.entry(line).or_default() += 1;
    }
    // a, b and c of each other one; a and b done and undone, and the refusal, of the rest.
    assert_eq!(counts.len(), SAGAS / 2 * 3 + SAGAS / 2 * 5, "{counts:?}");
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}
