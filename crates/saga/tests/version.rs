//! A change of the code, and sagas from before it.

mod stage;

use futures::join;
use outrigger_saga as saga;
use saga::{Definition, Failure, Input, Saga, step::Progress};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stage::{Stage, act};

#[derive(Serialize, Deserialize)]
struct Begin;

impl Input for Begin {
    const SAGA: &'static str = "under-test";
}

async fn before(saga: Saga, _: Begin) -> Result<(), Failure> {
    saga.call(act("a")).await?;
    saga.call(act("b")).await?;
    saga.call(act("d")).await.map(drop)
}

async fn gated(saga: Saga, _: Begin) -> Result<(), Failure> {
    saga.call(act("a")).await?;
    if saga.version("with-c") {
        saga.call(act("c")).await?;
    }
    saga.call(act("b")).await?;
    if saga.version("with-c") {
        saga.call(act("e")).await?;
    }
    saga.call(act("d")).await.map(drop)
}

async fn after(saga: Saga, _: Begin) -> Result<(), Failure> {
    for name in ["a", "c", "b", "e", "d"] {
        saga.call(act(name)).await?;
    }
    Ok(())
}

#[test]
fn a_saga_from_before_the_change_goes_the_earlier_way_to_its_end() {
    let mut stage = Stage::start(Definition::of(before), Begin);
    stage.done("do a");
    stage.definition = Definition::of(gated);
    stage.done("do b");
    stage.done("do d");
    stage.rests(&Progress::Completed);
}

#[test]
fn a_saga_that_has_not_come_to_the_change_goes_the_newer_way() {
    let mut stage = Stage::start(Definition::of(before), Begin);
    stage.definition = Definition::of(gated);
    for name in ["do a", "do c", "do b", "do e", "do d"] {
        stage.done(name);
    }
    stage.rests(&Progress::Completed);
}

#[test]
fn the_gate_can_be_removed_when_nobody_is_left_from_before() {
    for way in 1..5 {
        let mut stage = Stage::start(Definition::of(gated), Begin);
        for (number, name) in ["do a", "do c", "do b", "do e", "do d"]
            .into_iter()
            .enumerate()
        {
            if number == way {
                stage.definition = Definition::of(after);
            }
            stage.done(name);
        }
        stage.rests(&Progress::Completed);
    }
}

#[test]
fn gates_come_and_go_in_any_order() {
    async fn two(saga: Saga, _: Begin) -> Result<(), Failure> {
        let (newest, newer) = (saga.version("newest"), saga.version("newer"));
        saga.call(act(&format!("{newest} {newer}"))).await?;
        saga.call(act("b")).await.map(drop)
    }
    async fn one(saga: Saga, _: Begin) -> Result<(), Failure> {
        let newer = saga.version("newer");
        saga.call(act(&format!("false {newer}"))).await?;
        saga.call(act("b")).await.map(drop)
    }
    for (old, new, first) in [
        (Definition::of(one), Definition::of(two), "do false true"),
        (Definition::of(two), Definition::of(one), "do true true"),
    ] {
        let mut stage = Stage::start(old, Begin);
        stage.definition = new;
        stage.done(first);
        stage.done("do b");
        stage.rests(&Progress::Completed);
    }
}

#[test]
fn a_gate_in_a_branch_is_found_again() {
    async fn branches(saga: Saga, _: Begin) -> Result<(), Failure> {
        let branch = async |name: &str| {
            saga.call(act(name)).await?;
            let newer = saga.version(name);
            saga.call(act(&format!("{name} {newer}"))).await
        };
        let (a, b) = join!(branch("a"), branch("b"));
        a.and(b).map(drop)
    }
    let mut stage = Stage::start(Definition::of(branches), Begin);
    let (a, b) = (stage.expect("do a"), stage.expect("do b"));
    stage.reply(b, json!(1));
    stage.reply(a, json!(1));
    stage.done("do b true");
    stage.done("do a true");
    stage.rests(&Progress::Completed);
}
