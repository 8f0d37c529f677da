//! The simulation of the whole shop, from the command line.

use std::process::Command;

use serde_json::Value;

fn report(seed: u64) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(["simulate", "--seed", &seed.to_string(), "--output", "json"])
        .output()
        .expect("the process ran");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {said}"))
}

#[test]
fn g11_replay_a_seed_of_the_shop_is_the_same_run_in_two_processes() {
    for seed in [3, 4] {
        let (first, second) = std::thread::scope(|scope| {
            let other = scope.spawn(|| report(seed));
            (report(seed), other.join().expect("no panic"))
        });
        assert_eq!(first["violations"], serde_json::json!([]), "seed {seed}");
        assert_eq!(first["traceHash"], second["traceHash"], "seed {seed}");
    }
}

#[test]
fn a_run_is_drawn_as_one_html_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.html");
    let output = Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(["simulate", "--seed", "3", "--faults", "breeze", "--html"])
        .arg(&file)
        .output()
        .expect("the process ran");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let page = std::fs::read_to_string(&file).expect("a file");
    assert!(page.starts_with("<!"), "{page}");
    for lane in [
        "order-service",
        "payment-service",
        "gateway",
        "POST /orders",
    ] {
        assert!(page.contains(lane), "{lane} is not there");
    }
}

#[test]
fn what_would_not_be_run_is_refused() {
    for (arguments, why) in [
        ("--html run.html", "--seed"),
        ("--seeds 3 --only 1", "--only"),
        ("--seed 7 --from 9", "--from"),
        ("--seeds 0", "0"),
        ("--from 18446744073709551615", "18446744073709551615"),
        ("--crash-at 3:before --power-loss", "--power-loss"),
        ("--crash-at 3:amid", "7:amid:powerless"),
        ("--seeds 3 --no-shrink", "--no-shrink"),
        ("--seed 7 --only 0,999", "no fault at place 999"),
        ("--seed 7 --html nowhere/run.html", "nowhere"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_shop"))
            .arg("simulate")
            .args(arguments.split(' '))
            .output()
            .expect("the process ran");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments}");
        assert!(said.contains(why), "{arguments}: {said}");
    }
}
