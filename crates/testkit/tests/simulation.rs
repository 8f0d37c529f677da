//! A simulation finds what is wrong, finds nothing where nothing is, and finds it again.

mod small;

use std::process::Command;

use outrigger_testkit::simulation::{
    CrashPoint, Death, Error, Simulation,
    crash_points::{compare_by, run_crash_points_by},
    run_seeds_by,
    stage::TICK,
};
use small::Publishing;

#[test]
#[ignore = "run by the other tests, in a process of its own"]
#[expect(
    clippy::print_stdout,
    reason = "its answer to the process that started it"
)]
fn child() {
    let seed = std::env::var("OUTRIGGER_TEST_SEED").expect("set by the parent");
    let system = small::system(Publishing::InTheTransaction);
    let seed = seed.parse().expect("a number");
    let report = Simulation::of(system).seed(seed).run().expect("it runs");
    println!("\nreport={}", serde_json::to_string(&report).expect("JSON"));
}

/// What a test prints is between lines of the test harness; a shell takes them away.
fn command(seed: u64) -> std::io::Result<Command> {
    let script = r#""$0" child --exact --ignored --nocapture | sed -n 's/^report=//p'"#;
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(std::env::current_exe()?);
    command.env("OUTRIGGER_TEST_SEED", seed.to_string());
    Ok(command)
}

#[test]
fn a_sound_system_passes_every_seed_and_every_seed_repeats() {
    let summary = run_seeds_by(24..30, 2, command, |_| {}).expect("the processes start");
    assert!(summary.failed.is_empty(), "{summary}");
    assert_eq!(summary.seeds, 6);
    assert_eq!(summary.repeated, 1, "seed 25 is run twice");
    let counted = summary.events["count.made"];
    assert!(
        counted > 6 * 30,
        "the users were heard: {counted} of {}",
        6 * 45
    );
}

#[test]
fn publishing_outside_the_transaction_is_found() {
    let found = (0..12).find_map(|seed| {
        let system = small::system(Publishing::Afterwards);
        let report = Simulation::of(system).seed(seed).run().expect("it runs");
        report.violations.first().cloned()
    });
    let violation = found.expect("one of the seeds shows it");
    assert_eq!(violation.rule, "everything that was counted is tallied");
    assert!(violation.at_ms > u64::try_from(TICK.as_millis()).expect("small"));
}

/// Runs the crash point of the environment.
#[test]
#[ignore = "run by the other tests, in a process of its own"]
#[expect(
    clippy::print_stdout,
    reason = "its answer to the process that started it"
)]
fn crash_point() {
    let point = std::env::var("OUTRIGGER_TEST_POINT").expect("set by the parent");
    let publishing = match std::env::var("OUTRIGGER_TEST_BROKEN") {
        Ok(_) => Publishing::Afterwards,
        Err(_) => Publishing::InTheTransaction,
    };
    let simulation = Simulation::of(small::system(publishing)).seed(1);
    let report = simulation.crash_at(point.parse().expect("a point")).run();
    let json = serde_json::to_string(&report.expect("it runs")).expect("JSON");
    println!("\nreport={json}");
}

fn crash_at(point: CrashPoint) -> std::io::Result<Command> {
    let script = r#""$0" crash_point --exact --ignored --nocapture | sed -n 's/^report=//p'"#;
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .arg(std::env::current_exe()?)
        .env("OUTRIGGER_TEST_POINT", point.to_string());
    Ok(command)
}

#[test]
fn a_sound_system_gets_over_a_kill_at_every_instant() {
    let all = 1..=u64::MAX;
    let found = run_crash_points_by(all, Death::Kill, 2, crash_at, |_, _| {}).expect("it runs");
    assert!(found.failed.is_empty(), "{found}");
    // At least three commits with their messages: count, publish, tally, acknowledge.
    assert!(found.effects >= 12, "{found}");
    assert_eq!(found.runs, 2 * found.effects);
    assert_eq!(found.struck, found.runs, "{found}");
}

#[test]
fn a_sound_system_gets_over_a_loss_of_power_at_every_instant() {
    let all = 1..=u64::MAX;
    let found = run_crash_points_by(all, Death::PowerLoss, 2, crash_at, |_, _| {});
    let found = found.expect("it runs");
    assert!(found.failed.is_empty(), "{found}");
    assert_eq!(found.runs, 3 * found.effects);
    assert_eq!(found.struck, found.runs, "{found}");
}

#[test]
fn a_kill_between_writing_and_publishing_is_found_where_it_hurts() {
    let broken = |point| {
        let mut command = crash_at(point)?;
        command.env("OUTRIGGER_TEST_BROKEN", "1");
        Ok(command)
    };
    let found = run_crash_points_by(1..=2, Death::Kill, 2, broken, |_, _| {}).expect("it runs");
    let first = found.failed.first().expect("one of them");
    assert_eq!(first.crash_point.to_string(), "1:after", "{found}");
    let struck = first.struck.as_deref().expect("a process");
    assert_eq!(struck, "counter-service dies just after a commit");

    let simulation = Simulation::of(small::system(Publishing::Afterwards)).seed(1);
    let point = first.crash_point;
    let mut again = simulation.crash_at(point).run().expect("it runs");
    compare_by(&mut again, point, broken).expect("there is one without");
    let violation = again.violations.first().expect("the same");
    assert!(first.reason.contains(&violation.found), "{violation}");
    compare_by(&mut again, "9999:before".parse().expect("a point"), broken).expect("it is broken");
    assert_eq!(again.violations.len(), 1, "{again}");
}

#[test]
fn a_crash_point_that_a_run_does_not_come_to_is_no_success() {
    let simulation = Simulation::of(small::system(Publishing::InTheTransaction)).seed(1);
    let point = "9999:before".parse().expect("a point");
    let mut report = simulation.crash_at(point).run().expect("it runs");
    let error = compare_by(&mut report, point, crash_at).expect_err("nothing died");
    assert!(matches!(error, Error::NotStruck { .. }), "{error}");
    assert!(
        error.to_string().contains(&report.effects.to_string()),
        "{error}"
    );
}

#[test]
fn a_failing_seed_is_reported_with_what_its_process_said() {
    let broken = |_| {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out of luck >&2; exit 3"]);
        Ok(command)
    };
    let summary = run_seeds_by(7..8, 1, broken, |_| {}).expect("the process starts");
    let reason = &summary.failed[0].reason;
    assert!(
        reason.contains("out of luck") && reason.contains('3'),
        "{reason}"
    );
    assert!(summary.to_string().contains("seed 7: "), "{summary}");
}

#[test]
fn a_system_that_cannot_start_is_no_run_and_says_why() {
    let nameless = outrigger::System::new("small").workload(|_| async {});
    let twice = || outrigger::Service::new("counter-service");
    let error = Simulation::of(nameless.service(twice()).service(twice())).run();
    let error = error.expect_err("it breaks a rule").to_string();
    assert!(error.contains("counter-service"), "{error}");
}

#[test]
fn what_a_description_lacks_is_named() {
    let system = || outrigger::System::new("small").workload(|_| async {});
    let point = "1:before".parse().expect("a point");
    let story = Simulation::of(system()).crash_at(point).run();
    let rush = Simulation::of(system()).rush().run();
    for (run, missing) in [(story, ".scenario(..)"), (rush, ".rush(..)")] {
        let error = run.expect_err("nobody does anything").to_string();
        assert!(error.contains(missing), "{error}");
    }
}
