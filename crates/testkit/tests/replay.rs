//! G11: the same binary and seed give the same run, event for event: a whole system through a storm, 50 seeds, each in two
//! processes.

mod small;

use std::{process::Command, time::Duration};

use outrigger::{GatewayClient, System};
use outrigger_testkit::simulation::{Faults, Simulation};
use serde_json::json;
use small::Publishing;

const SEEDS: u64 = 50;

/// Short, so that fifty of them twice are a matter of seconds: two users, three counts each, a storm of one second.
fn system() -> System {
    small::system(Publishing::InTheTransaction).workload(|client: GatewayClient| async move {
        let user = |name: &'static str| {
            let client = client.clone();
            async move {
                for number in 0..3 {
                    let body = json!({ "id": format!("{name}-{number}") });
                    let _ = client.post("/counts", &body).await;
                    env::sleep(Duration::from_millis(100)).await;
                }
            }
        };
        futures::join!(user("ada"), user("grace"));
    })
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
#[expect(
    clippy::print_stdout,
    reason = "its answer to the process that started it"
)]
fn child() {
    let seed = std::env::var("OUTRIGGER_TEST_SEED").expect("set by the parent");
    let faults = Faults::storm().lasting(Duration::from_secs(1));
    let simulation = Simulation::of(system()).faults(faults);
    let report = simulation.seed(seed.parse().expect("a number")).run();
    println!("\nhash={}", report.expect("it runs").trace_hash);
}

fn hash_in_a_process_of_its_own(seed: u64) -> String {
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env("OUTRIGGER_TEST_SEED", seed.to_string())
        .output()
        .expect("the process ran");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, rest) = text.split_once("hash=").unwrap_or_else(|| panic!("{text}"));
    rest.split_whitespace().next().expect("a hash").to_owned()
}

fn hashes() -> Vec<String> {
    (0..SEEDS).map(hash_in_a_process_of_its_own).collect()
}

#[test]
fn g11_replay_fifty_seeds_are_the_same_run_in_two_processes() {
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(hashes);
        (hashes(), other.join().expect("no panic"))
    });
    for (seed, (first, second)) in first.iter().zip(&second).enumerate() {
        assert_eq!(first, second, "seed {seed}");
    }
    let different: std::collections::BTreeSet<_> = first.iter().collect();
    assert_eq!(
        different.len() as u64,
        SEEDS,
        "and each is a run of its own"
    );
}
