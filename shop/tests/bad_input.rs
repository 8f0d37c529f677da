//! Wrong input gets the fitting 4xx with a problem document that names the field, and leaves nothing behind.

use outrigger::{client::Answer, http::Method};
use serde_json::{Value, json};
use testkit::TestEnvironment;

async fn shop() -> TestEnvironment {
    let env = TestEnvironment::start(shop::system())
        .await
        .expect("the shop starts");
    let lamp = json!({ "id": "lamp", "name": "Lamp", "price": 10, "stock": 10 });
    let ada = json!({ "id": "ada", "email": "ada@example.com", "name": "Ada" });
    assert_eq!(
        env.post("/products", lamp).await.expect("an answer").status,
        201
    );
    assert_eq!(
        env.post("/users", ada).await.expect("an answer").status,
        201
    );
    env
}

fn names(answer: &Answer, status: u16, field: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.body["status"], status);
    assert_eq!(answer.body["field"], field, "{}", answer.body);
    assert!(
        answer.body["type"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("https://"))
    );
    assert!(answer.body["correlationId"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_order_names_its_field_and_stores_nothing() {
    let env = shop().await;
    let line = |quantity: Value| json!({ "userId": "ada", "items": [{ "productId": "lamp", "quantity": quantity }] });
    let many: Vec<_> = (0..10_000)
        .map(|n| json!({ "productId": format!("p{n}"), "quantity": 1 }))
        .collect();
    for (order, field) in [
        (
            json!({ "items": [{ "productId": "lamp", "quantity": 1 }] }),
            "userId",
        ),
        (json!({ "userId": "ada" }), "items"),
        (json!({ "userId": "ada", "items": [] }), "items"),
        (json!({ "userId": 7, "items": [] }), "userId"),
        (
            json!({ "userId": "ada", "items": [{ "quantity": 1 }] }),
            "items[0].productId",
        ),
        (line(json!(0)), "items[0].quantity"),
        (line(json!(-1)), "items[0].quantity"),
        (line(json!(1.5)), "items[0].quantity"),
        (line(json!("two")), "items[0].quantity"),
        (json!({ "userId": "ada", "items": many }), "items"),
    ] {
        let answer = env.post("/orders", order).await.expect("an answer");
        names(&answer, 400, field);
    }
    assert!(env.at_rest().await.expect("at rest").is_empty());
    assert_eq!(env.events("order.created").len(), 0);
    let history = env
        .get("/order-history?userId=ada")
        .await
        .expect("an answer");
    assert_eq!(history.body["items"], json!([]), "{}", history.body);
    env.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_users_and_products_name_their_field() {
    let env = shop().await;
    for (path, body, field) in [
        ("/users", json!({ "name": "Ada" }), "email"),
        (
            "/users",
            json!({ "name": "", "email": "a@example.com" }),
            "name",
        ),
        (
            "/users",
            json!({ "name": "Ada", "email": "nowhere" }),
            "email",
        ),
        ("/products", json!({ "name": "Lamp", "stock": 1 }), "price"),
        (
            "/products",
            json!({ "name": "Lamp", "price": -1, "stock": 1 }),
            "price",
        ),
        (
            "/products",
            json!({ "name": "Lamp", "price": 1.999, "stock": 1 }),
            "price",
        ),
        (
            "/products",
            json!({ "name": "Lamp", "price": 1, "stock": -1 }),
            "stock",
        ),
    ] {
        let answer = env.post(path, body).await.expect("an answer");
        names(&answer, 400, field);
    }
    env.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_no_route_or_no_method_is_a_problem_too() {
    let env = shop().await;
    let problem = |answer: &Answer, status: u16| {
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    };

    problem(&raw(&env, "application/json", "{\"userId\": ").await, 400);
    problem(&raw(&env, "text/plain", "hello").await, 415);
    problem(
        &raw(&env, "application/json", &" ".repeat(3 * 1024 * 1024)).await,
        413,
    );
    problem(&env.get("/nowhere").await.expect("an answer"), 404);
    problem(
        &env.get("/orders/no-such-order").await.expect("an answer"),
        404,
    );
    let deleted = env
        .client()
        .request(Method::DELETE, "/orders", None)
        .await
        .expect("an answer");
    problem(&deleted, 405);
    env.stop().await;
}

async fn raw(env: &TestEnvironment, content_type: &str, body: &str) -> Answer {
    let body = Some((content_type, body.to_owned()));
    env.client()
        .send(Method::POST, "/orders", body)
        .await
        .expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_closed_a_service_takes_nothing_without_a_token() {
    let env = shop().await;
    let service = env.address("user-service").expect("it runs");
    let direct = outrigger::GatewayClient::new(service);
    assert_eq!(
        direct.get("/users/ada").await.expect("an answer").status,
        401
    );
    let forged = direct.with_header("authorization", "Bearer e30.e30.e30");
    assert_eq!(
        forged.get("/users/ada").await.expect("an answer").status,
        401
    );
    env.stop().await;
}
