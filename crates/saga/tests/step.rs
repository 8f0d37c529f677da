//! The pure step: what is sent, in which order, and how it ends.

mod stage;

use std::time::Duration;

use futures::{
    StreamExt,
    future::{self, Either},
    join,
    stream::FuturesUnordered,
    try_join,
};
use outrigger_saga as saga;
use saga::{Definition, Entry, Failure, Input, Saga, step::Progress};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stage::{Stage, act, undo};

/// Any input, for any function.
#[derive(Serialize, Deserialize)]
struct Begin;

impl Input for Begin {
    const SAGA: &'static str = "under-test";
}

fn timeout() -> Failure {
    Failure::new("timeout", "`saga.work-service.do` did not answer in time.")
}

fn no(code: &str) -> Failure {
    Failure::new(code, "no")
}

async fn three(saga: Saga, _: Begin) -> Result<(), Failure> {
    saga.call(act("a")).undo(undo("a")).await?;
    saga.call(act("b")).undo(undo("b")).await?;
    saga.call(act("c")).undo(undo("c")).await?;
    Ok(())
}

/// Begins `a`, and goes on to `b` when that takes longer than a nap.
async fn impatient(saga: Saga, _: Begin) -> Result<(), Failure> {
    let slow = saga.call(act("a")).undo(undo("a"));
    let nap = saga.sleep(Duration::from_secs(1));
    if let Either::Left((first, _)) = future::select(slow, nap).await {
        first?;
    }
    saga.call(act("b")).undo(undo("b")).await.map(drop)
}

#[test]
fn a_call_that_the_code_dropped_is_undone_after_success() {
    let mut stage = Stage::start(Definition::of(impatient), Begin);
    let (a, nap) = (stage.expect("do a"), stage.latest());
    assert!(stage.elapse(nap));
    stage.done("do b");
    // It may be done yet, so it is taken back; and nobody waits for what it says meanwhile.
    let undo = stage.expect("undo a");
    assert!(!stage.reply(a, json!(1)));
    assert!(stage.reply(undo, json!(null)));
    stage.rests(&Progress::Completed);
}

#[test]
fn a_call_that_the_code_dropped_is_undone_only_if_it_was_not_refused() {
    for (answered, is_undone) in [("refused", false), ("done", true), ("elapsed", true)] {
        let mut stage = Stage::start(Definition::of(impatient), Begin);
        let (a, nap) = (stage.expect("do a"), stage.latest());
        stage.elapse(nap);
        assert!(match answered {
            "refused" => stage.refuse(a, "sold-out"),
            "done" => stage.reply(a, json!(1)),
            _ => stage.elapse(a),
        });
        stage.done("do b");
        if is_undone {
            stage.done("undo a");
        }
        stage.rests(&Progress::Completed);
    }
}

#[test]
fn a_call_that_the_code_dropped_is_waited_for_and_undone_after_a_failure() {
    let mut stage = Stage::start(Definition::of(impatient), Begin);
    let (a, nap) = (stage.expect("do a"), stage.latest());
    stage.elapse(nap);
    let b = stage.expect("do b");
    stage.refuse(b, "sold-out");
    stage.rests(&Progress::Compensating(Some(no("sold-out"))));
    stage.reply(a, json!(1));
    stage.done("undo a");
    stage.rests(&Progress::Compensated(no("sold-out")));
}

#[test]
fn a_child_that_the_code_dropped_is_undone_after_success() {
    async fn parent(saga: Saga, _: Begin) -> Result<(), Failure> {
        let nap = saga.sleep(Duration::from_secs(1));
        future::select(saga.child(Begin), nap).await;
        Ok(())
    }
    let mut stage = Stage::start(Definition::of(parent), Begin);
    stage.expect("start under-test");
    let nap = stage.latest();
    stage.elapse(nap);
    stage.done("revert 0");
    stage.rests(&Progress::Completed);
}

#[test]
fn one_step_follows_the_reply_to_the_other() {
    let mut stage = Stage::start(Definition::of(three), Begin);
    stage.done("do a");
    stage.done("do b");
    stage.rests_until("do c");
    stage.done("do c");
    stage.rests(&Progress::Completed);
}

#[test]
fn what_was_done_is_undone_in_reverse_and_one_at_a_time() {
    let mut stage = Stage::start(Definition::of(three), Begin);
    stage.done("do a");
    stage.done("do b");
    let c = stage.expect("do c");
    assert!(stage.refuse(c, "sold-out"));
    let b = stage.expect("undo b");
    stage.rests(&Progress::Compensating(Some(no("sold-out"))));
    assert!(stage.reply(b, json!(null)));
    stage.done("undo a");
    stage.rests(&Progress::Compensated(no("sold-out")));
}

#[test]
fn a_step_of_unknown_outcome_is_undone_first() {
    let mut stage = Stage::start(Definition::of(three), Begin);
    stage.done("do a");
    let b = stage.expect("do b");
    assert!(stage.elapse(b));
    assert!(!stage.reply(b, json!(1)), "too late to matter");
    stage.done("undo b");
    stage.done("undo a");
    stage.rests(&Progress::Compensated(timeout()));
}

#[test]
fn a_step_that_was_given_up_and_replaced_is_undone_at_the_end() {
    async fn other_way(saga: Saga, _: Begin) -> Result<(), Failure> {
        let first = saga.call(act("a")).undo(undo("a")).await;
        if first.is_err_and(|failure| failure.is_timeout()) {
            saga.call(act("b")).undo(undo("b")).await?;
        }
        Ok(())
    }
    let mut stage = Stage::start(Definition::of(other_way), Begin);
    let a = stage.expect("do a");
    stage.elapse(a);
    stage.done("do b");
    stage.rests_until("undo a");
    stage.done("undo a");
    stage.rests(&Progress::Completed);
}

#[test]
fn branches_of_a_join_go_on_in_whatever_order_replies_come() {
    async fn pairs(saga: Saga, _: Begin) -> Result<(), Failure> {
        let pair = async |first, second| {
            let one = saga.call(act(first)).undo(undo(first)).await?;
            Ok::<_, Failure>((one, saga.call(act(second)).undo(undo(second)).await?))
        };
        let (left, right) = join!(pair("a1", "a2"), pair("b1", "b2"));
        // seq of each call: a1 0, b1 1, then in the order in which the branches went on.
        assert_eq!((left?, right?), ((0, 3), (1, 2)));
        saga.call(act("c")).await.map(drop)
    }
    let mut stage = Stage::start(Definition::of(pairs), Begin);
    let (a1, b1) = (stage.expect("do a1"), stage.expect("do b1"));
    // The second branch goes on first, and must find its place again when the first one does.
    assert!(stage.reply(b1, json!(b1)));
    let b2 = stage.expect("do b2");
    assert!(stage.reply(a1, json!(a1)));
    let a2 = stage.expect("do a2");
    assert!(stage.reply(a2, json!(a2)));
    assert!(stage.reply(b2, json!(b2)));
    let c = stage.expect("do c");
    assert!(stage.refuse(c, "broken"));
    for name in ["undo b2", "undo a2", "undo a1", "undo b1"] {
        stage.done(name);
    }
    stage.rests(&Progress::Compensated(no("broken")));
}

#[test]
fn nothing_is_undone_before_every_branch_is_answered() {
    async fn both(saga: Saga, _: Begin) -> Result<(), Failure> {
        try_join!(
            saga.call(act("a")).undo(undo("a")),
            saga.call(act("b")).undo(undo("b")),
        )?;
        Ok(())
    }
    let compensating = Progress::Compensating(Some(no("first")));
    for b_was_done in [true, false] {
        let mut stage = Stage::start(Definition::of(both), Begin);
        let (a, b) = (stage.expect("do a"), stage.expect("do b"));
        stage.refuse(a, "first");
        stage.rests(&compensating);
        if b_was_done {
            stage.reply(b, json!(1));
            stage.done("undo b");
        } else {
            stage.refuse(b, "second");
        }
        stage.rests(&Progress::Compensated(no("first")));
    }
}

#[test]
fn executors_within_the_function_are_woken() {
    async fn many(saga: Saga, _: Begin) -> Result<(), Failure> {
        let names: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        let mut calls: FuturesUnordered<_> =
            names.iter().map(|name| saga.call(act(name))).collect();
        while let Some(reply) = calls.next().await {
            reply?;
        }
        tokio::task::yield_now().await;
        let rest = names.iter().map(|name| saga.call(act(name)));
        future::try_join_all(rest).await.map(drop)
    }
    let mut stage = Stage::start(Definition::of(many), Begin);
    for _ in 0..2 {
        assert_eq!(stage.sent.len(), 50);
        while let Some(sent) = stage.sent.pop_back() {
            stage.reply(sent.seq, json!(0));
            if sent.seq % 50 == 0 {
                break;
            }
        }
    }
    stage.rests(&Progress::Completed);
}

#[test]
fn time_and_chance_are_the_same_in_every_run() {
    async fn recording(saga: Saga, _: Begin) -> Result<(), Failure> {
        let values = || (saga.now(), saga.id(), saga.random());
        let (first, second) = (values(), values());
        assert_ne!(first, second);
        let name = format!("{first:?} {second:?}");
        saga.call(act(&name)).undo(undo(&name)).await?;
        saga.sleep(Duration::from_hours(1)).await;
        Err(Failure::new(format!("{first:?} {second:?}"), ""))
    }
    let mut stage = Stage::start(Definition::of(recording), Begin);
    let call = stage.sent.pop_front().unwrap();
    let recorded = call.data.as_str().unwrap().to_owned();
    stage.reply(call.seq, json!(1));
    stage.rests(&Progress::Running);
    assert!(stage.elapse(call.seq + 1));
    stage.done(&format!("undo {recorded}"));
    stage.rests(&Progress::Compensated(Failure::new(recorded, "")));
}

#[test]
fn duplicates_and_answers_to_nothing_change_nothing() {
    let mut stage = Stage::start(Definition::of(three), Begin);
    let a = stage.expect("do a");
    assert!(stage.reply(a, json!(1)));
    assert!(!stage.reply(a, json!(2)), "a duplicate");
    assert!(!stage.refuse(a, "changed-its-mind"));
    assert!(!stage.elapse(a), "its time is over, but it was in time");
    assert!(!stage.reply(99, json!(1)), "never asked");
    assert_eq!(stage.log, ["do a", "do b"]);
    stage.done("do b");
    stage.done("do c");
    assert!(!stage.hear(Entry::Resumed), "it has ended");
    stage.rests(&Progress::Completed);
}

impl Stage {
    /// Expects exactly this command to be waiting.
    #[track_caller]
    fn rests_until(&self, name: &str) {
        let waiting: Vec<String> = self.sent.iter().map(stage::Sent::name).collect();
        assert_eq!(waiting, [name]);
    }
}
