//! What cannot go on by itself is parked, says why, and goes on when it is resumed.

mod stage;

use std::{future, sync::OnceLock, time::Duration};

use data::Database;
use events::{JsonSchema, schemars};
use futures::FutureExt;
use outrigger_saga as saga;
use saga::{
    Command, Definition, Entry, Failure, Input, Saga, UNDO_ATTEMPTS, run::STEP_LIMIT,
    step::Progress,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stage::{Stage, act, undo};
use tempfile::tempdir;

#[derive(Serialize, Deserialize)]
struct Begin;

impl Input for Begin {
    const SAGA: &'static str = "under-test";
}

#[derive(Serialize, Deserialize, JsonSchema, Command)]
#[command("paint-service", "paint", reply = String, crate = saga)]
struct Paint;

async fn work(saga: Saga, _: Begin) -> Result<(), Failure> {
    saga.call(act("a")).undo(undo("a")).await?;
    saga.call(act("b")).undo(undo("b")).await.map(drop)
}

async fn paint(saga: Saga, _: Begin) -> Result<(), Failure> {
    saga.call(act("a")).undo(undo("a")).await?;
    saga.call(Paint).await.map(drop)
}

async fn work_and_paint(saga: Saga, _: Begin) -> Result<(), Failure> {
    saga.call(act("a")).undo(undo("a")).await?;
    let both = (saga.call(act("b")).undo(undo("b")), saga.call(Paint));
    futures::try_join!(both.0, both.1).map(drop)
}

async fn rest(saga: Saga, _: Begin) -> Result<(), Failure> {
    saga.call(act("a")).undo(undo("a")).await?;
    saga.sleep(Duration::from_secs(1)).await;
    Ok(())
}

/// A saga of which `a` is done and what comes next is under way.
fn begun<F, Fut>(function: F) -> Stage
where
    F: Fn(Saga, Begin) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let mut stage = Stage::start(Definition::of(function), Begin);
    stage.done("do a");
    stage.sent.clear();
    stage
}

/// Goes on with other code than before.
fn deploy<F, Fut>(stage: &mut Stage, function: F)
where
    F: Fn(Saga, Begin) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    stage.definition = Definition::of(function);
}

#[test]
fn a_journal_that_does_not_fit_the_code_parks_with_both_sides_named() {
    let mut stage = begun(work);
    deploy(&mut stage, paint);
    assert!(stage.reply(1, json!(1)));
    assert_eq!(
        stage.parked(),
        "step 1 does not fit: the journal has a call of `saga.work-service.do`, \
         the code has a call of `saga.paint-service.paint`. \
         Keep the earlier way for sagas under way, behind `saga.version(..)`, and retry"
    );

    let mut stage = begun(rest);
    deploy(&mut stage, work);
    stage.elapse(1);
    assert_eq!(
        stage.parked(),
        "step 1 does not fit: the journal has a sleep, the code has a call of `saga.work-service.do`. \
         Keep the earlier way for sagas under way, behind `saga.version(..)`, and retry"
    );
}

#[test]
fn code_that_leaves_out_a_step_that_was_made_does_not_fit() {
    async fn less(saga: Saga, _: Begin) -> Result<(), Failure> {
        saga.call(act("a")).await.map(drop)
    }
    let mut stage = begun(work);
    deploy(&mut stage, less);
    stage.reply(1, json!(1));
    assert_eq!(
        stage.parked(),
        "step 1 does not fit: the journal has a call of `saga.work-service.do`, the code has nothing more. \
         Keep the earlier way for sagas under way, behind `saga.version(..)`, and retry"
    );
}

#[test]
fn a_reply_that_the_code_cannot_read_parks() {
    let mut stage = begun(paint);
    stage.reply(1, json!({ "colour": "red" }));
    let reason = stage.parked();
    assert!(
        reason.starts_with(
            "what the journal has for step 1, `saga.paint-service.paint`, \
             cannot be read as the code's `alloc::string::String`: "
        ),
        "{reason}"
    );
}

#[test]
fn what_is_answered_meanwhile_is_kept_and_the_saga_goes_on_with_code_that_fits() {
    let mut stage = begun(work_and_paint);
    deploy(&mut stage, rest);
    stage.reply(1, json!(1));
    stage.parked();
    stage.refuse(2, "no-paint");
    stage.parked();
    assert_eq!(stage.sent, [], "nothing is done while it is parked");
    deploy(&mut stage, work_and_paint);
    assert!(stage.hear(Entry::Resumed));
    stage.done("undo b");
    stage.done("undo a");
    stage.rests(&Progress::Compensated(Failure::new("no-paint", "no")));
}

#[test]
fn an_input_that_the_code_cannot_read_parks() {
    let stage = Stage::start(Definition::of(work), json!({ "not": "a unit" }));
    let reason = stage.parked();
    assert!(
        reason.starts_with("the input cannot be read as that of `under-test`: "),
        "{reason}"
    );
}

#[test]
fn waiting_for_what_is_no_step_parks() {
    async fn waiting(saga: Saga, _: Begin) -> Result<(), Failure> {
        saga.call(act("a")).await?;
        future::pending().await
    }
    let mut stage = Stage::start(Definition::of(waiting), Begin);
    stage.done("do a");
    let reason = stage.parked();
    assert!(
        reason
            .starts_with("the code of `under-test` waits for something that is none of its steps"),
        "{reason}"
    );
}

#[test]
fn a_panic_parks() {
    async fn panicking(saga: Saga, _: Begin) -> Result<(), Failure> {
        let number = saga.call(act("a")).await?;
        panic!("number {number} is wrong")
    }
    let mut stage = Stage::start(Definition::of(panicking), Begin);
    stage.done("do a");
    assert_eq!(stage.parked(), "the code panicked: number 0 is wrong");
}

/// Why a saga is parked whose code does this.
macro_rules! parked_by {
    ($asks:expr) => {{
        async fn asking(saga: Saga, _: Begin) -> Result<(), Failure> {
            saga.call(act("a")).await?;
            let _ = $asks;
            saga.call(act("b")).await.map(drop)
        }
        let mut stage = Stage::start(Definition::of(asking), Begin);
        stage.done("do a");
        assert_eq!(
            stage.sent,
            [],
            "nothing is sent that may differ in the next run"
        );
        stage.parked().to_owned()
    }};
}

fn uses(what: &str, instead: &str) -> String {
    format!("the code uses `{what}`, but must do the same in every run: {instead}")
}

#[test]
fn asking_for_time_and_chance_parks() {
    assert_eq!(parked_by!(env::now()), uses("env::now", "use `saga.now()`"));
    assert_eq!(
        parked_by!(env::instant()),
        uses("env::instant", "use `saga.now()`")
    );
    assert_eq!(parked_by!(env::id()), uses("env::id", "use `saga.id()`"));
    let random = parked_by!(env::random().below(6));
    assert_eq!(random, uses("env::random", "use `saga.random()`"));
}

/// A database that the code of a saga gets at behind its back.
static DB: OnceLock<Database> = OnceLock::new();

fn database() -> &'static Database {
    DB.get().expect("it is open")
}

#[tokio::test]
async fn talking_to_the_outside_parks() {
    let folder = tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("a.sqlite").display());
    let opened = Database::open(&url).await.expect("opened");
    DB.set(opened).expect("once");
    let handler = "move what talks to the outside into the handler of a command";
    let read = parked_by!(database().query("SELECT 1", &[]).now_or_never());
    assert_eq!(read, uses("Database::query", handler));
    let wrote = parked_by!(database().begin().now_or_never());
    assert_eq!(wrote, uses("Database::begin", handler));
    let connected = parked_by!(env::net::connect(([127, 0, 0, 1], 1).into()).now_or_never());
    assert_eq!(connected, uses("env::net::connect", handler));
}

#[test]
fn a_loop_without_end_parks() {
    async fn looping(saga: Saga, _: Begin) -> Result<(), Failure> {
        loop {
            for _ in 1..50 {
                saga.now();
            }
            saga.call(act("a")).await?;
        }
    }
    let mut stage = Stage::start(Definition::of(looping), Begin);
    for _ in 0..STEP_LIMIT / 50 {
        stage.done("do a");
    }
    let reason = stage.parked();
    assert!(reason.contains("has taken 1000 steps"), "{reason}");
}

/// A saga whose undo of `a` is sent.
fn undoing() -> (Stage, u32) {
    let mut stage = Stage::start(Definition::of(work), Begin);
    stage.done("do a");
    let b = stage.expect("do b");
    stage.refuse(b, "sold-out");
    let undo = stage.expect("undo a");
    (stage, undo)
}

fn sold_out() -> Progress {
    Progress::Compensated(Failure::new("sold-out", "no"))
}

#[test]
fn a_refused_undo_parks_with_the_reason_and_is_sent_again_when_resumed() {
    let (mut stage, undo) = undoing();
    stage.refuse(undo, "already-shipped");
    assert_eq!(
        stage.parked(),
        "the undo `saga.work-service.undo` was refused: already-shipped: no"
    );
    stage.hear(Entry::Resumed);
    stage.done("undo a");
    stage.rests(&sold_out());
}

#[test]
fn an_unanswered_undo_is_sent_again_and_then_parked() {
    let (mut stage, mut undo) = undoing();
    for _ in 1..UNDO_ATTEMPTS {
        assert!(stage.elapse(undo));
        undo = stage.expect("undo a");
    }
    stage.elapse(undo);
    assert_eq!(
        stage.parked(),
        "the undo `saga.work-service.undo` was not answered, 8 times: look for it among the dead letters"
    );
    stage.hear(Entry::Resumed);
    stage.done("undo a");
    stage.rests(&sold_out());
}

#[test]
fn an_undo_that_is_answered_late_is_done_even_if_the_saga_was_parked_meanwhile() {
    let (mut stage, first) = undoing();
    let mut undo = first;
    for _ in 1..UNDO_ATTEMPTS {
        stage.elapse(undo);
        undo = stage.expect("undo a");
    }
    stage.elapse(undo);
    stage.parked();
    assert!(stage.reply(first, json!(null)));
    stage.rests(&sold_out());
}
