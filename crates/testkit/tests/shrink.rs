//! What makes a run fail is found among what does not, and can be looked at.

mod small;

use std::{convert::Infallible, process::Command};

use outrigger_testkit::simulation::{
    Fault, Page, Report, Schedule, Simulation,
    fault::Kind,
    shrink::{fewest, shrink_by},
    timeline,
};
use small::Publishing;

/// What is left of 0..count when a run fails that has all of `needed`, and how many tries that takes.
fn left_of(count: usize, needed: &[usize]) -> (Vec<usize>, u32) {
    let mut tries = 0;
    let left = fewest((0..count).collect(), |kept: &[usize]| {
        tries += 1;
        Ok::<_, Infallible>(needed.iter().all(|item| kept.contains(item)))
    });
    let Ok(left) = left;
    (left, tries)
}

#[test]
fn what_is_needed_is_left_and_nothing_else() {
    let cases: [&[usize]; 7] = [
        &[],
        &[0],
        &[11],
        &[3, 4],
        &[0, 11],
        &[1, 5, 9],
        &[0, 1, 2, 3, 4, 5],
    ];
    for needed in cases {
        assert_eq!(left_of(12, needed).0, needed, "needed {needed:?}");
    }
    assert_eq!(left_of(1, &[0]).0, [0]);
}

#[test]
fn one_of_many_is_found_in_few_tries() {
    let (left, tries) = left_of(64, &[40]);
    assert_eq!(left, [40]);
    assert!(tries < 20, "{tries}");
}

/// Four crashes of a service that publishes after its commit: each has its chance to come in between.
fn broken(seed: u64) -> Simulation {
    let crash = |from: u64, machine: &str| Fault {
        from: std::time::Duration::from_millis(from),
        until: std::time::Duration::from_millis(from + 200),
        kind: Kind::Crash {
            machine: machine.to_owned(),
            after_steps: 0,
        },
    };
    let faults = vec![
        crash(300, "tally-service"),
        crash(700, "counter-service"),
        crash(1_200, "tally-service"),
        crash(1_700, "tally-service"),
    ];
    let system = small::system(Publishing::Afterwards);
    Simulation::of(system)
        .seed(seed)
        .schedule(Schedule { faults })
}

fn failed() -> Report {
    let run = |seed| broken(seed).timeline().run().expect("it runs");
    let failed = (1..30)
        .map(run)
        .find(|report| !report.violations.is_empty());
    failed.expect("one of the seeds shows it")
}

#[test]
fn a_failing_schedule_shrinks_to_the_fault_that_is_to_blame() {
    let report = failed();
    let rule = &report.violations[0].rule;
    // In place of a process: it reports the same when the crash of the counter is among the faults.
    let process = |places: &[usize]| {
        let violations = match places.contains(&1) {
            true => format!(r#"[{{ "atMs": 1, "rule": "{rule}", "found": "" }}]"#),
            false => "[]".to_owned(),
        };
        let mut command = Command::new("echo");
        command.arg(format!(r#"{{ "violations": {violations} }}"#));
        Ok(command)
    };
    let shrunk = shrink_by(&report, process, |_| {}).expect("the processes start");
    let shrunk = shrunk.expect("something is wrong");
    assert_eq!(shrunk.only(), "1");
    assert_eq!(shrunk.faults, [report.schedule.faults[1].clone()]);
    assert!(
        shrunk.to_string().contains("counter-service is down"),
        "{shrunk}"
    );
}

#[test]
fn the_timeline_tells_of_messages_faults_and_the_violation() {
    let report = failed();
    let timeline = report.timeline.clone().expect("it was asked for");
    let has = |wanted: &dyn Fn(&timeline::Entry) -> bool| timeline.entries().any(wanted);
    assert!(has(&|entry| entry.text == "POST /counts"
        && entry.machine.as_deref() == Some("users")
        && entry.kind == timeline::Kind::Message("gateway".to_owned())));
    assert!(has(&|entry| entry.kind == timeline::Kind::Fault
        && entry.text == "begins: counter-service is down"));
    assert!(has(&|entry| entry.kind == timeline::Kind::Violation
        && entry.text.contains(&report.violations[0].rule)));
    assert!(timeline.entries().map(|entry| entry.at).is_sorted());
    let text = timeline.last(3).to_string();
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn keeping_a_timeline_changes_nothing() {
    let with = failed();
    let without = broken(with.seed).run().expect("it runs");
    assert!(without.timeline.is_none());
    assert_eq!(without.violations, with.violations);
}

/// Every tag that is opened is closed, in order: what an XML parser would see to.
fn is_balanced(page: &str) -> bool {
    const VOID: [&str; 3] = ["!doctype", "meta", "br"];
    let mut open = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((tag, after)) = after.split_once('>') else {
            return false;
        };
        rest = after;
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap_or_default();
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                return false;
            }
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
    }
    open.is_empty()
}

#[test]
fn the_page_is_one_file_with_a_lane_for_each_machine() {
    let report = failed();
    let page = Page::of(&report).to_string();
    for lane in ["users", "gateway", "counter-service", "tally-service"] {
        assert!(page.contains(&format!(">{lane}</text>")), "{lane}");
    }
    assert!(page.contains(&report.violations[0].rule));
    assert!(is_balanced(&page), "{page}");
    for outside in ["<script", "<link", "src=", "href=", "@import", "<img"] {
        assert!(!page.contains(outside), "{outside}");
    }
}
