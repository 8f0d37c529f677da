//! Sagas that are ended from outside: by their deadline, by request, by their parent; and what they wait for.

mod stage;

use std::time::Duration;

use events::{JsonSchema, schemars};
use futures::{future::select, join};
use outrigger_saga as saga;
use saga::{Definition, Entry, Failure, Input, Saga, step::Progress};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stage::{Stage, act, undo};

#[derive(Serialize, Deserialize)]
struct Begin;

impl Input for Begin {
    const SAGA: &'static str = "under-test";
}

#[derive(Serialize, Deserialize)]
struct Small;

impl Input for Small {
    const SAGA: &'static str = "small";
}

#[derive(Debug, Serialize, Deserialize, JsonSchema, events::Event)]
#[event("parcel.picked-up", version = 1, key = parcel, crate = events)]
struct PickedUp {
    parcel: String,
}

fn no(code: &str) -> Failure {
    Failure::new(code, "no")
}

async fn limited(saga: Saga, _: Begin) -> Result<(), Failure> {
    saga.deadline(Duration::from_mins(1));
    saga.call(act("a")).undo(undo("a")).await?;
    saga.call(act("b")).undo(undo("b")).await.map(drop)
}

fn late() -> Progress {
    Progress::Compensated(Failure::new("deadline", "The saga did not end in time."))
}

#[test]
fn a_deadline_undoes_what_was_done() {
    let mut stage = Stage::start(Definition::of(limited), Begin);
    stage.done("do a");
    let b = stage.expect("do b");
    assert!(stage.elapse(0));
    stage.rests(&Progress::Compensating(Some(Failure::new(
        "deadline",
        "The saga did not end in time.",
    ))));
    assert!(stage.reply(b, json!(1)), "it is waited for");
    stage.done("undo b");
    stage.done("undo a");
    stage.rests(&late());
}

#[test]
fn a_deadline_that_is_met_changes_nothing() {
    let mut stage = Stage::start(Definition::of(limited), Begin);
    stage.done("do a");
    let b = stage.expect("do b");
    stage.refuse(b, "sold-out");
    let undoing = stage.expect("undo a");
    assert!(!stage.elapse(0), "it is being undone anyway");
    stage.reply(undoing, json!(null));
    stage.rests(&Progress::Compensated(no("sold-out")));
}

#[test]
fn a_saga_is_cancelled_even_if_its_code_does_not_fit() {
    async fn other(saga: Saga, _: Begin) -> Result<(), Failure> {
        saga.sleep(Duration::from_secs(1)).await;
        Ok(())
    }
    let mut stage = Stage::start(Definition::of(limited), Begin);
    stage.done("do a");
    stage.definition = Definition::of(other);
    let b = stage.expect("do b");
    stage.refuse(b, "sold-out");
    stage.parked();
    assert!(stage.cancel());
    stage.done("undo a");
    stage.rests(&Progress::Compensated(no("cancelled")));
}

async fn nesting(saga: Saga, _: Begin) -> Result<(), Failure> {
    let (child, a) = join!(saga.child(Small), saga.call(act("a")).undo(undo("a")));
    child?;
    a?;
    saga.call(act("b")).await.map(drop)
}

#[test]
fn a_child_is_a_step_and_its_failure_that_of_the_step() {
    let mut stage = Stage::start(Definition::of(nesting), Begin);
    stage.done("start small");
    stage.done("do a");
    stage.done("do b");
    stage.rests(&Progress::Completed);

    let mut stage = Stage::start(Definition::of(nesting), Begin);
    let child = stage.expect("start small");
    stage.done("do a");
    stage.refuse(child, "sold-out");
    stage.done("undo a");
    stage.rests(&Progress::Compensated(no("sold-out")));
}

#[test]
fn a_child_that_completed_is_undone_with_its_parent() {
    let mut stage = Stage::start(Definition::of(nesting), Begin);
    stage.done("start small");
    stage.done("do a");
    let b = stage.expect("do b");
    stage.refuse(b, "sold-out");
    stage.done("undo a");
    stage.done("revert 0");
    stage.rests(&Progress::Compensated(no("sold-out")));
}

#[test]
fn a_child_that_goes_on_is_told_to_stop_when_its_parent_is_cancelled() {
    let mut stage = Stage::start(Definition::of(nesting), Begin);
    let child = stage.expect("start small");
    stage.done("do a");
    stage.cancel();
    let revert = stage.expect("revert 0");
    assert!(!stage.refuse(child, "cancelled"), "that the undo says");
    stage.reply(revert, json!(null));
    stage.done("undo a");
    stage.rests(&Progress::Compensated(no("cancelled")));
}

async fn waiting(saga: Saga, _: Begin) -> Result<(), Failure> {
    let picked_up = saga.wait_for::<PickedUp>().keyed("p-1").await?;
    saga.call(act(&picked_up.parcel)).await.map(drop)
}

#[test]
fn a_signal_is_waited_for() {
    let mut stage = Stage::start(Definition::of(waiting), Begin);
    let wait = stage.expect("listen parcel.picked-up");
    let signal = Entry::Signalled {
        seq: wait,
        data: json!({ "parcel": "p-1" }),
    };
    assert!(stage.hear(signal.clone()));
    assert!(!stage.hear(signal), "a duplicate");
    assert!(!stage.elapse(wait), "it came in time");
    stage.done("do p-1");
    stage.rests(&Progress::Completed);
}

#[test]
fn a_signal_that_does_not_come_is_a_failure() {
    let mut stage = Stage::start(Definition::of(waiting), Begin);
    let wait = stage.expect("listen parcel.picked-up");
    assert!(stage.elapse(wait));
    let failure = Failure::new("timeout", "`parcel.picked-up` did not answer in time.");
    stage.rests(&Progress::Compensated(failure));
}

#[test]
fn an_operator_can_stand_in_for_a_signal_or_let_a_sleep_be() {
    async fn sleeping(saga: Saga, begin: Begin) -> Result<(), Failure> {
        saga.sleep(Duration::from_hours(1)).await;
        waiting(saga, begin).await
    }
    let mut stage = Stage::start(Definition::of(sleeping), Begin);
    assert!(stage.skip(0, json!(null)));
    assert!(stage.skip(1, json!({ "parcel": "p-2" })));
    stage.expect("listen parcel.picked-up");
    stage.done("do p-2");
    stage.rests(&Progress::Completed);
}

#[test]
fn what_is_not_waited_for_any_more_does_not_hide_that_nothing_is() {
    async fn foreign(saga: Saga, _: Begin) -> Result<(), Failure> {
        let call = saga.call(act("a"));
        select(call, saga.sleep(Duration::from_secs(1))).await;
        std::future::pending().await
    }
    let mut stage = Stage::start(Definition::of(foreign), Begin);
    stage.expect("do a");
    // The call is still under way, but its answer would not wake anybody.
    stage.elapse(1);
    assert!(stage.parked().contains("none of its steps"));
}

#[test]
fn a_success_that_is_cancelled_finishes_the_undo_that_it_is_at_first() {
    async fn given_up(saga: Saga, _: Begin) -> Result<(), Failure> {
        drop(saga.call(act("a")).undo(undo("a")).await);
        saga.call(act("b")).undo(undo("b")).await.map(drop)
    }
    let mut stage = Stage::start(Definition::of(given_up), Begin);
    let a = stage.expect("do a");
    stage.elapse(a);
    stage.done("do b");
    let undoing = stage.expect("undo a");
    stage.rests(&Progress::Compensating(None));
    stage.cancel();
    stage.rests(&Progress::Compensating(Some(no("cancelled"))));
    stage.elapse(undoing);
    stage.done("undo a");
    stage.done("undo b");
    stage.rests(&Progress::Compensated(no("cancelled")));
}
