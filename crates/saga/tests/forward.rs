//! Trying again: by a policy before the point of no return, and always after it.

mod stage;

use std::time::Duration;

use events::{JsonSchema, schemars};
use futures::{future, join};
use outrigger_saga as saga;
use saga::{
    Definition, Entry, Failure, Input, Retry, Saga, UNDO_ATTEMPTS, journal, step::Progress,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stage::{Stage, act, undo};

#[derive(Serialize, Deserialize)]
struct Begin;

impl Input for Begin {
    const SAGA: &'static str = "under-test";
}

#[derive(Serialize, Deserialize, JsonSchema, events::Event)]
#[event("bell.rung", version = 1, key = bell, crate = events)]
struct Rung {
    bell: String,
}

fn no(code: &str) -> Failure {
    Failure::new(code, "no")
}

async fn patient(saga: Saga, _: Begin) -> Result<(), Failure> {
    let retry = Retry::times(3).after("busy");
    let first = saga.call(act("a")).undo(undo("a")).retry(retry).await?;
    saga.call(act(&format!("b{first}"))).await.map(drop)
}

/// Lets the pause before the next attempt pass.
fn pause(stage: &mut Stage) {
    let pause = stage.latest();
    assert!(
        stage.elapse(pause),
        "{:?} is no pause",
        stage.journal.last()
    );
}

#[test]
fn what_passes_is_tried_again_after_a_pause() {
    let mut stage = Stage::start(Definition::of(patient), Begin);
    let first = stage.expect("do a");
    stage.elapse(first);
    stage.rests(&Progress::Running);
    pause(&mut stage);
    let second = stage.expect("do a");
    stage.refuse(second, "busy");
    pause(&mut stage);
    let third = stage.expect("do a");
    assert!(stage.reply(third, json!(7)));
    stage.done("do b7");
    stage.rests(&Progress::Completed);
}

#[test]
fn what_the_business_refuses_is_not_tried_again() {
    let mut stage = Stage::start(Definition::of(patient), Begin);
    let first = stage.expect("do a");
    stage.elapse(first);
    pause(&mut stage);
    let second = stage.expect("do a");
    stage.refuse(second, "sold-out");
    // The first attempt may have been done: it is undone, once for all attempts.
    stage.done("undo a");
    stage.rests(&Progress::Compensated(no("sold-out")));
}

#[test]
fn attempts_that_are_all_refused_are_not_undone() {
    let mut stage = Stage::start(Definition::of(patient), Begin);
    for attempt in 1..=3 {
        let sent = stage.expect("do a");
        stage.refuse(sent, "busy");
        if attempt < 3 {
            pause(&mut stage);
        }
    }
    stage.rests(&Progress::Compensated(no("busy")));
}

#[test]
fn the_late_answer_to_an_earlier_attempt_counts() {
    let mut stage = Stage::start(Definition::of(patient), Begin);
    let first = stage.expect("do a");
    stage.elapse(first);
    assert!(stage.reply(first, json!(1)), "while it pauses");
    stage.done("do b1");
    stage.rests(&Progress::Completed);

    let mut stage = Stage::start(Definition::of(patient), Begin);
    let first = stage.expect("do a");
    stage.elapse(first);
    pause(&mut stage);
    let second = stage.expect("do a");
    assert!(
        stage.reply(first, json!(1)),
        "while the second is under way"
    );
    assert!(!stage.reply(second, json!(2)), "it is answered");
    let b = stage.expect("do b1");
    stage.refuse(b, "broken");
    stage.done("undo a");
    stage.rests(&Progress::Compensated(no("broken")));
}

#[test]
fn an_attempt_that_is_refused_late_does_not_end_the_next() {
    let mut stage = Stage::start(Definition::of(patient), Begin);
    let first = stage.expect("do a");
    stage.elapse(first);
    pause(&mut stage);
    let second = stage.expect("do a");
    assert!(stage.refuse(first, "sold-out"));
    stage.rests(&Progress::Running);
    stage.reply(second, json!(2));
    stage.done("do b2");
    stage.rests(&Progress::Completed);
}

async fn pivoting(saga: Saga, _: Begin) -> Result<(), Failure> {
    saga.deadline(Duration::from_mins(1));
    saga.call(act("a")).undo(undo("a")).await?;
    saga.point_of_no_return();
    let number = saga.call(act("b")).await?;
    match number {
        13 => Err(no("unlucky")),
        _ => saga.call(act("c")).await.map(drop),
    }
}

fn past_return() -> Stage {
    let mut stage = Stage::start(Definition::of(pivoting), Begin);
    stage.done("do a");
    stage
}

#[test]
fn past_the_point_of_no_return_a_step_is_tried_until_it_is_done() {
    let mut stage = past_return();
    let b = stage.expect("do b");
    stage.refuse(b, "sold-out");
    pause(&mut stage);
    let b = stage.expect("do b");
    stage.elapse(b);
    pause(&mut stage);
    stage.done("do b");
    stage.done("do c");
    stage.rests(&Progress::Completed);
}

/// A saga whose step `b` was tried as often as it is tried by itself.
fn hanging() -> Stage {
    let mut stage = past_return();
    for attempt in 1..=UNDO_ATTEMPTS {
        let b = stage.expect("do b");
        stage.refuse(b, "sold-out");
        if attempt < UNDO_ATTEMPTS {
            pause(&mut stage);
        }
    }
    assert_eq!(
        stage.parked(),
        "step 3, `saga.work-service.do`, is past the point of no return and failed 8 times, \
         at last with sold-out: no: retry it, or skip it"
    );
    stage
}

#[test]
fn a_step_that_hangs_goes_on_when_it_is_retried() {
    let mut stage = hanging();
    stage.hear(Entry::Resumed);
    let b = stage.expect("do b");
    stage.rests(&Progress::Running);
    stage.refuse(b, "sold-out");
    pause(&mut stage);
    stage.done("do b");
    stage.done("do c");
    stage.rests(&Progress::Completed);
}

#[test]
fn a_step_that_hangs_goes_on_when_it_is_skipped_or_answered_late() {
    let mut stage = hanging();
    assert!(stage.skip(3, json!(1)));
    assert!(!stage.skip(3, json!(1)), "it is skipped");
    stage.done("do c");
    stage.rests(&Progress::Completed);

    let mut stage = hanging();
    assert!(stage.reply(3, json!(1)));
    stage.done("do c");
    stage.rests(&Progress::Completed);
}

#[test]
fn a_branch_goes_on_while_another_hangs() {
    async fn both(saga: Saga, _: Begin) -> Result<(), Failure> {
        saga.point_of_no_return();
        let stubborn = saga.call(act("a")).retry(Retry::times(2));
        let other = async {
            saga.call(act("b")).await?;
            saga.call(act("c")).await
        };
        let (first, second) = join!(stubborn, other);
        first.and(second).map(drop)
    }
    let mut stage = Stage::start(Definition::of(both), Begin);
    let (a, b) = (stage.expect("do a"), stage.expect("do b"));
    stage.refuse(a, "no-wish");
    pause(&mut stage);
    let a = stage.expect("do a");
    stage.refuse(a, "no-wish");
    stage.parked();
    stage.reply(b, json!(1));
    stage.parked();
    stage.done("do c");
    stage.hear(Entry::Resumed);
    stage.done("do a");
    stage.rests(&Progress::Completed);
}

#[test]
fn past_the_point_of_no_return_a_child_is_started_anew_only_after_it_has_failed() {
    async fn parent(saga: Saga, _: Begin) -> Result<(), Failure> {
        saga.point_of_no_return();
        saga.child(Begin).timeout(Duration::from_mins(1)).await
    }
    let fresh = || saga::run::Fresh::of(env::Timestamp::UNIX_EPOCH, [0; 32]);
    let first = saga::step::step(&Definition::of(parent), "null", &[], fresh());
    let timers: Vec<_> = first
        .effects
        .iter()
        .filter_map(|effect| effect.timer())
        .collect();
    assert_eq!(timers, [], "it may take as long as it takes");

    let mut stage = Stage::start(Definition::of(parent), Begin);
    let child = stage.expect("start under-test");
    stage.refuse(child, "sold-out");
    pause(&mut stage);
    stage.done("start under-test");
    stage.rests(&Progress::Completed);
}

#[test]
fn past_the_point_of_no_return_the_child_is_undone_that_the_code_dropped() {
    async fn parent(saga: Saga, _: Begin) -> Result<(), Failure> {
        saga.point_of_no_return();
        let child = saga.child(Begin);
        future::select(child, saga.wait_for::<Rung>()).await;
        Ok(())
    }
    let mut stage = Stage::start(Definition::of(parent), Begin);
    let child = stage.expect("start under-test");
    let wait = stage.expect("listen bell.rung");
    stage.refuse(child, "sold-out");
    pause(&mut stage);
    let child = stage.expect("start under-test");
    stage.hear(Entry::Signalled {
        seq: wait,
        data: json!({ "bell": "1" }),
    });
    stage.done(&format!("revert {child}"));
    stage.rests(&Progress::Completed);
}

#[test]
fn the_pauses_of_a_policy_hold_past_the_point_of_no_return_too() {
    async fn hasty(saga: Saga, _: Begin) -> Result<(), Failure> {
        saga.point_of_no_return();
        let pause = Duration::from_millis(10);
        let once = Retry::times(1).pauses(pause, pause);
        saga.call(act("a")).retry(once).await.map(drop)
    }
    let fresh = || saga::run::Fresh::of(env::Timestamp::UNIX_EPOCH, [0; 32]);
    let mut stage = Stage::start(Definition::of(hasty), Begin);
    let a = stage.expect("do a");
    let mut journal = stage.journal.clone();
    journal.push(Entry::Refused {
        seq: a,
        failure: no("sold-out"),
    });
    let next = saga::step::step(&Definition::of(hasty), "null", &journal, fresh());
    let pauses: Vec<_> = next
        .effects
        .iter()
        .filter_map(|effect| effect.timer())
        .collect();
    assert!(
        matches!(pauses[..], [(_, pause)] if pause <= Duration::from_millis(10)),
        "{pauses:?}"
    );
}

#[test]
fn past_the_point_of_no_return_nothing_is_undone() {
    let mut stage = past_return();
    assert!(!stage.elapse(0), "the deadline is lifted");
    assert!(journal::is_past_return(&stage.journal));
    stage.cancel();
    stage.expect("do b");
    stage.rests(&Progress::Running);
    stage.reply(3, json!(13));
    assert!(
        stage
            .parked()
            .starts_with("the code failed past its point of no return: unlucky: no."),
        "{}",
        stage.parked()
    );
}
