//! One order is one trace, from the gateway to the end of its saga.

use outrigger::telemetry::logging;
use serde_json::json;
use testkit::TestEnvironment;

#[tokio::test(flavor = "multi_thread")]
async fn one_order_is_one_trace() {
    let _logging = logging::init(logging::Options::new("test").filter("off")).expect("initialized");
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
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let client = env
        .client()
        .clone()
        .with_header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"));
    let order = json!({ "userId": "ada", "items": [{ "productId": "lamp", "quantity": 1 }] });

    let answer = client.post("/orders", &order).await.expect("an answer");

    assert_eq!(answer.status, 201);
    assert_eq!(env.at_rest().await.expect("at rest"), []);
    for kind in [
        "order.created",
        "payment.charged",
        "order.confirmed",
        "order.saga.completed",
    ] {
        let event = env
            .events(kind)
            .pop()
            .unwrap_or_else(|| panic!("{kind} was published"));
        let parent = event.traceparent.expect("a trace");
        assert!(
            parent.contains(trace),
            "{kind} is of another trace: {parent}"
        );
    }
    env.stop().await;
}
