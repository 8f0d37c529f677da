//! A request with an `Idempotency-Key` takes effect once, whatever becomes of those who handle it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic, in its helpers too"
)]

mod till;

use std::{sync::Arc, time::Duration};

use outrigger::{env, http::Method, idempotency::KEY_MAX};
use serde_json::json;
use till::{Stage, Till, eventually, is_replayed, open, problem};
use tokio::sync::Semaphore;

/// Makes `sqlite::name` and `postgres::name` of each test.
macro_rules! on_each_engine {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Till::on_sqlite().await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Till::on_postgres().await).await;
            })+
        }
    };
}

on_each_engine!(
    g3_once_a_repeated_request_gets_the_first_answer,
    g3_once_another_request_with_the_same_key_is_refused,
    g3_once_twins_on_one_instance_run_once,
    g3_once_twins_on_two_instances_run_once,
    g3_once_a_twin_that_waits_in_vain_is_told_when_to_come_again,
    g3_once_what_died_after_its_decision_is_continued_by_another_instance,
    g3_once_whoever_was_overtaken_has_no_effects,
    g3_once_a_request_is_held_until_its_answer_is_whole_and_kept,
    g3_once_a_failure_that_may_pass_is_handled_again_and_a_refusal_is_not,
    g3_once_what_a_client_began_and_left_ends_and_is_answered,
);

/// A gate that is closed.
fn gate() -> Option<Semaphore> {
    Some(Semaphore::new(0))
}

async fn g3_once_a_repeated_request_gets_the_first_answer(till: Till) {
    let instance = till.instance(Stage::default()).await;
    let first = instance.sell("a").await;
    assert_eq!(first.status, 201);
    assert!(!is_replayed(&first));
    for key in ["a", "\"a\""] {
        let again = instance.sell(key).await;
        assert!(is_replayed(&again));
        assert_eq!((again.status, &again.body), (first.status, &first.body));
        for name in ["location", "content-type"] {
            assert_eq!(again.headers[name], first.headers[name], "{name}");
        }
    }
    assert_eq!((instance.stage.runs(), instance.sales().await), (1, 1));

    assert_ne!(instance.sell("b").await.body, first.body);
    let what = json!({ "what": "tea" });
    for sales in 3..5 {
        let without = instance
            .client()
            .post("/sales", &what)
            .await
            .expect("an answer");
        assert_eq!(without.status, 201);
        assert_eq!(instance.sales().await, sales);
    }
}

async fn g3_once_another_request_with_the_same_key_is_refused(till: Till) {
    let instance = till.instance(Stage::default()).await;
    instance.sell("a").await;
    let client = instance.with_key("a");
    for (path, what) in [("/sales", "coffee"), ("/sales?by=card", "tea")] {
        let other = client.post(path, &json!({ "what": what })).await;
        let other = other.expect("an answer");
        assert_eq!(problem(&other), (422, "idempotency-key-reused".to_owned()));
    }
    assert_eq!((instance.stage.runs(), instance.sales().await), (1, 1));
}

async fn g3_once_twins_on_one_instance_run_once(till: Till) {
    let stage = Stage {
        before: gate(),
        ..Stage::default()
    };
    let instance = Arc::new(till.instance(stage).await);
    let twins = Vec::from_iter((0..8).map(|_| {
        let instance = Arc::clone(&instance);
        tokio::spawn(async move { instance.sell("a").await })
    }));
    instance.stage.begun(1).await;
    open(instance.stage.before.as_ref());
    let mut replayed = 0;
    for twin in twins {
        let answer = twin.await.expect("no panic");
        assert_eq!(answer.status, 201, "{}", answer.body);
        replayed += u32::from(is_replayed(&answer));
    }
    assert_eq!(replayed, 7);
    assert_eq!((instance.stage.runs(), instance.sales().await), (1, 1));
}

async fn g3_once_twins_on_two_instances_run_once(till: Till) {
    let one = till.instance(Stage::default()).await;
    let two = till.instance(Stage::default()).await;
    for number in 0..20 {
        let key = number.to_string();
        let (left, right) = tokio::join!(one.sell(&key), two.sell(&key));
        assert_eq!((left.status.as_u16(), right.status.as_u16()), (201, 201));
        assert_eq!(left.body, right.body);
        assert_ne!(is_replayed(&left), is_replayed(&right));
    }
    assert_eq!(one.stage.runs() + two.stage.runs(), 20);
    assert_eq!(one.sales().await, 20);
}

async fn g3_once_a_twin_that_waits_in_vain_is_told_when_to_come_again(till: Till) {
    let stage = Stage {
        before: gate(),
        ..Stage::default()
    };
    let instance = Arc::new(till.instance(stage).await);
    let first = Arc::clone(&instance);
    let first = tokio::spawn(async move { first.sell("a").await });
    instance.stage.begun(1).await;

    let impatient = instance
        .with_key("a")
        .with_header("x-request-deadline", "300");
    let twin = impatient.post("/sales", &json!({ "what": "tea" })).await;
    let twin = twin.expect("an answer");
    assert_eq!(problem(&twin), (409, "request-in-progress".to_owned()));
    assert_eq!(twin.headers["retry-after"], "1");

    open(instance.stage.before.as_ref());
    assert_eq!(first.await.expect("no panic").status, 201);
    assert!(is_replayed(&instance.sell("a").await));
    assert_eq!(instance.stage.runs(), 1);
}

async fn g3_once_what_died_after_its_decision_is_continued_by_another_instance(till: Till) {
    let stage = Stage {
        after: gate(),
        ..Stage::default()
    };
    let (life, dying) = till.mortal(stage).await;
    let other = till.instance(Stage::default()).await;
    let dying = Arc::new(dying);
    let client = Arc::clone(&dying);
    let lost = tokio::spawn(async move { client.try_to_sell("a").await });
    eventually(async || other.sales().await == 1).await;
    life.shutdown_background();
    lost.await
        .expect("no panic")
        .expect_err("nobody is left to answer");

    other.end_leases().await;
    let answer = other.sell("a").await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(!is_replayed(&answer));
    assert_eq!((other.stage.runs(), other.sales().await), (1, 1));
    assert_eq!(other.sell("a").await.body, answer.body);
}

async fn g3_once_whoever_was_overtaken_has_no_effects(till: Till) {
    let stage = Stage {
        before: gate(),
        ..Stage::default()
    };
    let slow = Arc::new(till.instance(stage).await);
    let fast = till.instance(Stage::default()).await;
    let client = Arc::clone(&slow);
    let overtaken = tokio::spawn(async move { client.sell("a").await });
    slow.stage.begun(1).await;

    fast.end_leases().await;
    let answer = fast.sell("a").await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    open(slow.stage.before.as_ref());
    let overtaken = overtaken.await.expect("no panic");
    assert_eq!(problem(&overtaken), (409, "request-in-progress".to_owned()));
    let again = slow.sell("a").await;
    assert!(is_replayed(&again));
    assert_eq!(again.body, answer.body);
    assert_eq!(fast.sales().await, 1);
}

async fn g3_once_a_request_is_held_until_its_answer_is_whole_and_kept(till: Till) {
    let stage = Stage {
        ending: gate(),
        ..Stage::default()
    };
    let instance = Arc::new(till.instance(stage).await);
    let client = Arc::clone(&instance);
    let first = tokio::spawn(async move { client.sell("a").await });
    eventually(async || instance.sales().await == 1).await;

    // The handler has returned, and the body takes longer than the lease.
    instance.end_leases().await;
    eventually(async || instance.holds_one().await).await;

    open(instance.stage.ending.as_ref());
    assert_eq!(first.await.expect("no panic").status, 201);
    assert!(is_replayed(&instance.sell("a").await));
    assert_eq!(instance.stage.runs(), 1);
}

async fn g3_once_a_failure_that_may_pass_is_handled_again_and_a_refusal_is_not(till: Till) {
    let stage = Stage {
        failures: vec![503, 429, 0, 404, 201],
        ..Stage::default()
    };
    let instance = till.instance(stage).await;
    for status in [503, 429, 500] {
        let failed = instance.sell("a").await;
        assert_eq!(failed.status, status, "{}", failed.body);
        assert!(!is_replayed(&failed));
    }
    let refused = instance.sell("a").await;
    assert_eq!(refused.status, 404);
    let again = instance.sell("a").await;
    assert!(is_replayed(&again));
    assert_eq!((again.status, &again.body), (refused.status, &refused.body));
    assert_eq!(again.headers["content-type"], "application/problem+json");
    assert_eq!(instance.stage.runs(), 4);
}

async fn g3_once_what_a_client_began_and_left_ends_and_is_answered(till: Till) {
    let stage = Stage {
        before: gate(),
        ..Stage::default()
    };
    let instance = till.instance(stage).await;
    let leaving = env::timeout(Duration::from_secs(20), async {
        tokio::select! {
            answer = instance.sell("a") => panic!("too early: {answer:?}"),
            () = instance.stage.begun(1) => {}
        }
    });
    leaving.await.expect("it began");
    open(instance.stage.before.as_ref());
    eventually(async || instance.sales().await == 1).await;
    let answer = instance.sell("a").await;
    assert_eq!(answer.status, 201);
    assert!(is_replayed(&answer));
    assert_eq!(instance.stage.runs(), 1);
}

#[tokio::test]
async fn a_service_that_stops_waits_for_requests_whose_client_is_gone() {
    let till = Till::on_sqlite().await;
    let stage = Stage {
        before: gate(),
        ..Stage::default()
    };
    let instance = till.instance(stage).await;
    tokio::select! {
        answer = instance.sell("a") => panic!("too early: {answer:?}"),
        () = instance.stage.begun(1) => {}
    }
    let stage = Arc::clone(&instance.stage);
    let stopping = tokio::spawn(instance.running.stop());
    tokio::task::yield_now().await;
    open(stage.before.as_ref());
    stopping.await.expect("no panic");

    let next = till.instance(Stage::default()).await;
    assert!(is_replayed(&next.sell("a").await));
}

#[tokio::test]
async fn a_malformed_key_is_refused_before_anything_is_done() {
    let instance = Till::on_sqlite().await.instance(Stage::default()).await;
    let long = "k".repeat(KEY_MAX + 1);
    for key in ["", "two words", "\"", "a\"b", "\u{e4}", &long] {
        let answer = instance.sell(key).await;
        let expected = (400, "invalid-idempotency-key".to_owned());
        assert_eq!(problem(&answer), expected, "{key}");
    }
    let twice = instance.with_key("a").with_header("idempotency-key", "b");
    let answer = twice.post("/sales", &json!({})).await.expect("an answer");
    assert_eq!(answer.status, 400);
    assert_eq!(instance.stage.runs(), 0);
    assert_eq!(instance.sell(&long[1..]).await.status, 201);
}

#[tokio::test]
async fn a_key_means_nothing_where_repeating_is_harmless_or_nobody_serves() {
    let instance = Till::on_sqlite().await.instance(Stage::default()).await;
    for _ in 0..2 {
        assert!(!is_replayed(&instance.get("a").await));
        let nowhere = instance.with_key("a").post("/nowhere", &json!({})).await;
        let nowhere = nowhere.expect("an answer");
        assert_eq!(problem(&nowhere), (404, "route-not-found".to_owned()));
        assert!(!is_replayed(&nowhere));
    }
    assert_eq!(instance.stage.runs(), 2);
}

#[tokio::test]
async fn what_is_too_large_to_be_kept_is_given_once_and_not_done_twice() {
    let stage = Stage {
        padding: 2 * 1024 * 1024,
        ..Stage::default()
    };
    let instance = Till::on_sqlite().await.instance(stage).await;
    let answer = instance.sell("a").await;
    assert_eq!(answer.status, 201);
    let padding = answer.body["padding"].as_str().map(str::len);
    assert_eq!(padding, Some(2 * 1024 * 1024));
    let again = instance.sell("a").await;
    assert_eq!(problem(&again), (409, "answer-not-kept".to_owned()));
    assert_eq!(instance.stage.runs(), 1);

    let large = Some(("application/json", " ".repeat(2 * 1024 * 1024)));
    let large = instance
        .with_key("b")
        .send(Method::POST, "/sales", large)
        .await;
    assert_eq!(
        problem(&large.expect("an answer")),
        (413, "body-too-large".to_owned())
    );
}
