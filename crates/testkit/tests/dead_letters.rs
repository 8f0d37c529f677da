//! Dead letters as an operator deals with them, over HTTP.

use env::BoxError;
use outrigger::{
    Boundary, Context, GatewayClient, Service, System,
    data::{Migration, Transaction, params},
    events::CloudEvent,
    http::Method,
    identity,
};
use outrigger_testkit::TestEnvironment;
use serde::Deserialize;
use serde_json::{Value, json};

type Done = Result<(), BoxError>;

#[derive(Deserialize)]
struct Guest {
    name: String,
}

/// Greets whoever has a name.
async fn greet(_: Context, tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
    let guest: Guest = event.data_as()?;
    tx.execute(
        "INSERT INTO greeted (name) VALUES ($1)",
        params![guest.name],
    )
    .await?;
    Ok(())
}

const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "greeted",
    "CREATE TABLE greeted (position INTEGER PRIMARY KEY, name TEXT NOT NULL)",
)];

fn system() -> System {
    let greeter = Service::new("greeter-service")
        .boundary(Boundary::of("greetings").owns(["greeted"]))
        .migrations(MIGRATIONS)
        .on_raw("guest.*", greet);
    System::new("greetings").service(greeter)
}

async fn guest(env: &TestEnvironment, id: &str, data: Value) -> Done {
    let mut event = CloudEvent::new("guest.arrived", "door", data);
    (event.id, event.source) = (id.to_owned(), "test".to_owned());
    Ok(env.bus().publish(vec![event]).await?)
}

async fn greeted(env: &TestEnvironment) -> Result<Vec<String>, BoxError> {
    let sql = "SELECT name FROM greeted ORDER BY position";
    let rows = env.context("greeter-service")?.db().query(sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| row.get(0))
        .collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn an_operator_lists_shows_edits_replays_and_drops() -> Done {
    let env = TestEnvironment::start(system()).await?;
    guest(&env, "1", json!({})).await?;
    guest(&env, "2", json!({ "name": "Ada" })).await?;
    guest(&env, "3", json!({})).await?;
    let operator = env.operator("greeter-service")?;
    let held = async || {
        let page = operator
            .get("/dead-letters?type=guest.arrived")
            .await
            .ok()?;
        let first = page.body["deadLetters"].get(0)?.clone();
        (first["held"] == 2).then_some(first)
    };
    let first = env.eventually("two wait behind the first", held).await?;
    assert_eq!(first["event"]["id"], "1");
    let error = first["error"].as_str().unwrap_or_default();
    assert!(error.contains("missing field `name`"), "{error}");
    assert_eq!(operator.get("/dead-letters/1").await?.body, first);

    let edit = json!({ "data": { "name": "Grace" } });
    let replayed = operator.post("/dead-letters/1/replay", &edit).await?;
    assert_eq!(replayed.body, json!({ "replayed": 1 }));
    let third = async || {
        operator
            .get("/dead-letters/3")
            .await
            .ok()
            .filter(|it| it.status == 200)
    };
    env.eventually("the third is dead", third).await?;
    assert_eq!(greeted(&env).await?, ["Grace", "Ada"]);

    let everything = operator
        .request(Method::DELETE, "/dead-letters", None)
        .await?;
    assert_eq!(everything.status, 400, "{:?}", everything.body);
    let dropped = operator
        .request(Method::DELETE, "/dead-letters/3", None)
        .await?;
    assert_eq!(dropped.body, json!({ "dropped": 1 }));
    let again = operator
        .request(Method::DELETE, "/dead-letters/3", None)
        .await?;
    assert_eq!(again.status, 404);
    let none = operator
        .post("/dead-letters/replay?type=guest.arrived", &Value::Null)
        .await?;
    assert_eq!(none.body, json!({ "replayed": 0 }));
    env.stop().await;
    Ok(())
}

/// G10: what an operator may do, a service that may call this one may not, and nobody may without a token.
#[tokio::test]
async fn g10_closed_to_whoever_is_no_operator() -> Done {
    let env = TestEnvironment::start(system()).await?;
    let stranger = GatewayClient::new(env.address("greeter-service")?);
    assert_eq!(stranger.get("/dead-letters").await?.status, 401);
    let service = env.caller("greeter-service", identity::CALL)?;
    assert_eq!(service.get("/dead-letters").await?.status, 403);
    let operator = env.operator("greeter-service")?;
    assert_eq!(operator.get("/dead-letters").await?.status, 200);
    env.stop().await;
    Ok(())
}
