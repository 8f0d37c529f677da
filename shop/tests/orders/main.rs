//! Orders, from the gateway to the notification, as a client sees them.

mod cancelled;
mod once;
mod place;

use outrigger::{client::Answer, http::Method};
use serde_json::{Value, json};
use testkit::TestEnvironment;

use cancelled::{
    an_order_that_has_ended_cannot_be_cancelled, an_order_that_is_cancelled_in_time_is_undone,
};
use once::{
    g3_once_a_change_that_is_sent_again_undoes_no_later_one,
    g3_once_a_delivery_that_is_told_twice_is_taken_in_once,
    g3_once_a_user_and_a_product_whose_service_died_before_it_answered_are_one,
    g3_once_an_order_that_is_sent_again_is_one_order,
    g3_once_an_order_whose_service_died_before_it_answered_is_one_order,
};
use place::On;

/// Makes `sqlite::name`, `postgres::name` and `servers::name` of each test.
macro_rules! on_each_engine {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::On::Sqlite).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::On::Postgres).await;
            })+
        }
        mod servers {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::On::Servers).await;
            })+
        }
    };
}

on_each_engine!(
    an_order_is_confirmed_and_its_stock_is_gone,
    too_large_an_order_is_refused_and_nothing_is_reserved_or_charged,
    an_unknown_user_is_not_found,
    a_declined_payment_cancels_the_order_and_gives_the_stock_back,
    a_provider_that_fails_once_still_charges_once,
    a_price_that_is_not_the_catalogues_is_a_conflict,
    a_new_name_reaches_the_history,
    a_customer_with_a_pending_order_hears_that_the_product_runs_low,
    a_customer_who_prefers_not_to_wait_is_told_where_to_look,
    an_order_that_is_cancelled_in_time_is_undone,
    an_order_that_has_ended_cannot_be_cancelled,
    g3_once_a_delivery_that_is_told_twice_is_taken_in_once,
    g3_once_an_order_that_is_sent_again_is_one_order,
    g3_once_an_order_whose_service_died_before_it_answered_is_one_order,
    g3_once_a_user_and_a_product_whose_service_died_before_it_answered_are_one,
    g3_once_a_change_that_is_sent_again_undoes_no_later_one,
    g5_sagas_end_when_the_order_service_restarts_in_the_middle,
);

/// The whole shop, with a user and ten lamps.
async fn shop(on: On) -> TestEnvironment {
    let env = place::open(on).await;
    let user = json!({ "id": "ada", "email": "ada@example.com", "name": "Ada" });
    let lamp = json!({ "id": "lamp", "name": "Lamp", "price": 99.99, "stock": 10 });
    created(&env, "/users", user).await;
    created(&env, "/products", lamp).await;
    env
}

async fn created(env: &TestEnvironment, path: &str, body: Value) {
    let answer = post(env, path, body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}

async fn post(env: &TestEnvironment, path: &str, body: Value) -> Answer {
    env.post(path, body).await.expect("an answer")
}

async fn order(env: &TestEnvironment, order: Value) -> Answer {
    post(env, "/orders", order).await
}

async fn stock(env: &TestEnvironment) -> Value {
    let lamp = env.get("/products/lamp").await.expect("an answer");
    lamp.body["stock"].clone()
}

fn lamps(quantity: u32) -> Value {
    json!({ "userId": "ada", "items": [{ "productId": "lamp", "quantity": quantity }] })
}

fn paid_with(method: &str) -> Value {
    let mut order = lamps(2);
    order["paymentMethod"] = method.into();
    order
}

/// Stops the shop once it is at rest and all that must be true of it is.
async fn finish(env: TestEnvironment) {
    let violations = env.at_rest().await.expect("the shop comes to rest");
    assert_eq!(violations, []);
    env.stop().await;
}

async fn an_order_is_confirmed_and_its_stock_is_gone(on: On) {
    let env = shop(on).await;

    let answer = order(&env, lamps(2)).await;

    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.body["userId"], "ada");
    assert_eq!(answer.body["status"], "CONFIRMED");
    assert_eq!(answer.body["items"][0]["productId"], "lamp");
    assert_eq!(answer.body["items"][0]["quantity"], 2);
    assert_eq!(answer.body["total"], 199.98);
    assert_eq!(stock(&env).await, 8);
    let read = env
        .get(answer.headers["location"].to_str().expect("text"))
        .await
        .expect("an answer");
    assert_eq!(read.body, answer.body);
    env.eventually("order.created is published", async || {
        env.events("order.created").pop()
    })
    .await
    .expect("published");
    let violations = env.at_rest().await.expect("at rest");
    assert_eq!(violations, []);
    assert_eq!(env.events("order.created").len(), 1);
    env.stop().await;
}

async fn too_large_an_order_is_refused_and_nothing_is_reserved_or_charged(on: On) {
    let env = shop(on).await;

    let answer = order(&env, lamps(15)).await;

    assert_eq!(answer.status, 400);
    let detail = answer.body["detail"].as_str().expect("a detail");
    assert!(detail.contains("Insufficient inventory"), "{detail}");
    assert_eq!(stock(&env).await, 10);
    assert!(env.at_rest().await.expect("at rest").is_empty());
    assert_eq!(env.events("payment.charged").len(), 0);
    env.stop().await;
}

async fn an_unknown_user_is_not_found(on: On) {
    let env = shop(on).await;
    let mut stranger = lamps(1);
    stranger["userId"] = "nobody".into();
    let answer = order(&env, stranger).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.body["status"], 404);
    finish(env).await;
}

async fn a_declined_payment_cancels_the_order_and_gives_the_stock_back(on: On) {
    let env = shop(on).await;

    let answer = order(&env, paid_with("tok_declined")).await;

    assert_eq!(answer.status, 402, "{}", answer.body);
    assert!(env.at_rest().await.expect("at rest").is_empty());
    assert_eq!(stock(&env).await, 10);
    let history = env
        .get("/order-history?userId=ada")
        .await
        .expect("an answer");
    assert!(
        history.body.to_string().contains("CANCELLED"),
        "{}",
        history.body
    );
    assert_eq!(env.events("order.saga.compensated").len(), 1);
    env.stop().await;
}

async fn a_provider_that_fails_once_still_charges_once(on: On) {
    let env = shop(on).await;
    let answer = order(&env, paid_with("tok_flaky")).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(env.at_rest().await.expect("at rest").is_empty());
    assert_eq!(env.events("payment.charged").len(), 1);
    env.stop().await;
}

async fn a_price_that_is_not_the_catalogues_is_a_conflict(on: On) {
    let env = shop(on).await;
    let mut cheap = lamps(1);
    cheap["items"][0]["price"] = 1.5.into();
    assert_eq!(order(&env, cheap).await.status, 409);
    let mut right = lamps(1);
    right["items"][0]["price"] = 99.99.into();
    assert_eq!(order(&env, right).await.status, 201);
    finish(env).await;
}

async fn a_new_name_reaches_the_history(on: On) {
    let env = shop(on).await;
    assert_eq!(order(&env, lamps(1)).await.status, 201);

    let change = json!({ "email": "ada@example.org", "name": "Ada Lovelace" });
    let changed = env
        .client()
        .request(Method::PUT, "/users/ada", Some(&change))
        .await;
    assert_eq!(changed.expect("an answer").status, 200);

    env.eventually("the history shows the new name", async || {
        let history = env
            .get("/order-history?userId=ada")
            .await
            .ok()?
            .body
            .to_string();
        (history.contains("Ada Lovelace") && history.contains("ada@example.org")).then_some(())
    })
    .await
    .expect("shown");
    finish(env).await;
}

async fn a_customer_with_a_pending_order_hears_that_the_product_runs_low(on: On) {
    let env = shop(on).await;
    // Crosses the threshold while the order itself is still pending.
    assert_eq!(order(&env, lamps(8)).await.status, 201);
    env.eventually("the customer is told", async || {
        let told = env
            .get("/notifications?userId=ada")
            .await
            .ok()?
            .body
            .to_string();
        told.contains("stock").then_some(())
    })
    .await
    .expect("told");
    finish(env).await;
}

async fn a_customer_who_prefers_not_to_wait_is_told_where_to_look(on: On) {
    let env = shop(on).await;
    let client = env.client().clone().with_header("prefer", "respond-async");

    let answer = client.post("/orders", &lamps(1)).await.expect("an answer");

    assert_eq!(answer.status, 202);
    let place = answer.headers["location"]
        .to_str()
        .expect("text")
        .to_owned();
    env.eventually("the order is confirmed", async || {
        let order = env.get(&place).await.ok()?;
        (order.body["status"] == "CONFIRMED").then_some(())
    })
    .await
    .expect("confirmed");
    finish(env).await;
}

async fn g5_sagas_end_when_the_order_service_restarts_in_the_middle(on: On) {
    let mut env = shop(on).await;
    let client = env.client().clone().with_header("prefer", "respond-async");
    for _ in 0..5 {
        assert_eq!(
            client
                .post("/orders", &lamps(1))
                .await
                .expect("an answer")
                .status,
            202
        );
    }
    env.restart_service("order-service")
        .await
        .expect("restarted");
    finish(env).await;
}
