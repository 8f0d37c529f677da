//! What is sent again with its `Idempotency-Key` takes effect once.

use std::collections::BTreeSet;

use outrigger::{GatewayClient, futures, http::Method};
use serde_json::{Value, json};
use testkit::TestEnvironment;

use super::{finish, lamps, place::On, post, shop, stock};

/// A client whose requests have this key.
fn keyed(env: &TestEnvironment, key: &str) -> GatewayClient {
    env.client().clone().with_header("idempotency-key", key)
}

/// What a crash before the answer leaves behind: the decision, no answer, and a lease that nobody renews.
async fn forget_the_answer(env: &TestEnvironment, service: &str) {
    let db = env.context(service).expect("it runs").db();
    let mut tx = db.begin().await.expect("a turn");
    let update = "UPDATE outrigger_idempotency
                  SET answer_head = NULL, answer_body = NULL, held_until = 0";
    assert_eq!(tx.execute(update, &[]).await.expect("a table"), 1);
    tx.commit().await.expect("a database");
}

pub(crate) async fn g3_once_an_order_that_is_sent_again_is_one_order(on: On) {
    let env = shop(on).await;
    let keyed = keyed(&env, "k-1");
    let order = lamps(2);

    let twins = futures::future::join_all([(); 4].map(|()| keyed.post("/orders", &order))).await;

    let mut orders = BTreeSet::new();
    for answer in twins {
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 201, "{}", answer.body);
        orders.insert(answer.body["id"].to_string());
    }
    assert_eq!(orders.len(), 1, "{orders:?}");
    let again = keyed.post("/orders", &order).await.expect("an answer");
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let other = keyed.post("/orders", &lamps(1)).await.expect("an answer");
    assert_eq!(other.status, 422, "{}", other.body);
    assert_eq!(stock(&env).await, 8);
    assert_eq!(env.events("order.created").len(), 1);
    finish(env).await;
}

pub(crate) async fn g3_once_an_order_whose_service_died_before_it_answered_is_one_order(on: On) {
    let env = shop(on).await;
    let keyed = keyed(&env, "k-1");
    let first = keyed.post("/orders", &lamps(2)).await.expect("an answer");
    assert_eq!(first.status, 201, "{}", first.body);

    forget_the_answer(&env, "order-service").await;
    let again = keyed.post("/orders", &lamps(2)).await.expect("an answer");

    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(stock(&env).await, 8);
    finish(env).await;
}

pub(crate) async fn g3_once_a_user_and_a_product_whose_service_died_before_it_answered_are_one(
    on: On,
) {
    let env = shop(on).await;
    // Neither says which id it is to have.
    let user = json!({ "email": "grace@example.com", "name": "Grace" });
    let product = json!({ "name": "Desk", "price": 250, "stock": 3 });
    for (service, path, body, event) in [
        ("user-service", "/users", user, "user.registered"),
        ("inventory-service", "/products", product, "product.created"),
    ] {
        let keyed = keyed(&env, path);
        let first = keyed.post(path, &body).await.expect("an answer");
        assert_eq!(first.status, 201, "{}", first.body);

        forget_the_answer(&env, service).await;
        let again = keyed.post(path, &body).await.expect("an answer");

        assert_eq!((again.status, &again.body), (first.status, &first.body));
        assert_eq!(again.headers["location"], first.headers["location"]);
        let listed = env.get(path).await.expect("an answer");
        let listed = listed.body["items"].as_array().map(Vec::len);
        assert_eq!(listed, Some(2), "the one of the test besides");
        env.eventually("both are told of", async || {
            (env.events(event).len() == 2).then_some(())
        })
        .await
        .expect("told of");
    }
    finish(env).await;
}

pub(crate) async fn g3_once_a_change_that_is_sent_again_undoes_no_later_one(on: On) {
    let env = shop(on).await;
    let change = async |client: &GatewayClient, name: &str| -> Value {
        let change = json!({ "name": name });
        let answer = client.request(Method::PATCH, "/users/ada", Some(&change));
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    };
    let keyed = keyed(&env, "k-1");
    let first = change(&keyed, "Ada L.").await;
    change(env.client(), "Ada Lovelace").await;

    forget_the_answer(&env, "user-service").await;
    assert_eq!(change(&keyed, "Ada L.").await, first);

    let ada = env.get("/users/ada").await.expect("an answer");
    assert_eq!(ada.body["name"], "Ada Lovelace");
    finish(env).await;
}

pub(crate) async fn g3_once_a_delivery_that_is_told_twice_is_taken_in_once(on: On) {
    let env = shop(on).await;
    let keyed = keyed(&env, "k-1");
    let (path, delivery) = ("/products/lamp/restock", json!({ "quantity": 5 }));

    for _ in 0..2 {
        let answer = keyed.post(path, &delivery).await.expect("an answer");
        assert_eq!(
            (answer.status.as_u16(), &answer.body["stock"]),
            (200, &json!(15))
        );
    }

    assert_eq!(stock(&env).await, 15);
    let other = post(&env, "/products/desk/restock", delivery).await;
    assert_eq!(other.status, 404, "{}", other.body);
    for quantity in [json!(0), json!(-1), json!(1_000_000_000), json!("five")] {
        let refused = post(&env, path, json!({ "quantity": quantity })).await;
        assert_eq!(refused.status, 400, "{}", refused.body);
    }
    env.eventually("it is told", async || {
        let told = env.events("inventory.stock.changed");
        told.iter()
            .any(|event| event.data["onHand"] == 15)
            .then_some(())
    })
    .await
    .expect("told");
    finish(env).await;
}
