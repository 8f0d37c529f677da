//! An order can be cancelled as long as it is under way and not paid.

use outrigger::client::Answer;
use serde_json::{Value, json};
use testkit::TestEnvironment;

use super::{finish, lamps, order, paid_with, place::On, post, shop, stock};

async fn cancel(env: &TestEnvironment, id: &Value) -> Answer {
    let id = id.as_str().expect("an id");
    post(env, &format!("/orders/{id}/cancel"), json!({})).await
}

pub(crate) async fn an_order_that_is_cancelled_in_time_is_undone(on: On) {
    let env = shop(on).await;
    let client = env.client().clone().with_header("prefer", "respond-async");
    // Its payment hangs for a while.
    let order = paid_with("tok_timeout");
    let placed = client.post("/orders", &order).await.expect("an answer");
    assert_eq!(placed.status, 202);
    let id = &placed.body["id"];

    let cancelled = cancel(&env, id).await;

    assert!(cancelled.status.is_success(), "{}", cancelled.body);
    let path = placed.headers["location"]
        .to_str()
        .expect("text")
        .to_owned();
    let shown = env
        .eventually("the order is cancelled", async || {
            let shown = env.get(&path).await.ok()?;
            (shown.body["status"] == "CANCELLED").then_some(shown)
        })
        .await
        .expect("cancelled");
    assert_eq!(shown.body["reason"]["code"], "cancelled", "{}", shown.body);
    assert_eq!(stock(&env).await, 10);
    let again = cancel(&env, id).await;
    assert_eq!(again.status, 409, "{}", again.body);
    finish(env).await;
}

pub(crate) async fn an_order_that_has_ended_cannot_be_cancelled(on: On) {
    let env = shop(on).await;
    let confirmed = order(&env, lamps(2)).await;
    assert_eq!(confirmed.status, 201);

    let refused = cancel(&env, &confirmed.body["id"]).await;

    assert_eq!(refused.status, 409, "{}", refused.body);
    assert_eq!(
        refused.body["type"],
        "https://outrigger.dev/problems/order-ended"
    );
    assert_eq!(stock(&env).await, 8);
    let unknown = cancel(&env, &json!("nobody's")).await;
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    finish(env).await;
}
