//! A test talks to a system, sees what was published, stops and starts services, and puts stubs in their place.

mod small;

use axum::{Json, Router, routing::get};
use outrigger_testkit::{TestEnvironment, environment::Error};
use serde_json::json;
use small::{Publishing, system};

type Done = Result<(), env::BoxError>;

#[tokio::test]
async fn a_whole_system_answers_and_its_events_are_seen() -> Done {
    let env = TestEnvironment::start(system(Publishing::InTheTransaction)).await?;
    assert_eq!(env.post("/counts", json!({ "id": "a" })).await?.status, 201);
    assert_eq!(env.post("/counts", json!({ "id": "a" })).await?.status, 200);

    let event = env
        .eventually("it is told", async || env.events("count.made").pop())
        .await?;
    assert_eq!(event.data["id"], "a");
    assert_eq!(event.source, "counter-service");
    assert_eq!(env.at_rest().await?, []);
    assert_eq!(env.events("count.*").len(), 1);
    assert_eq!(env.get("/tally").await?.body, json!({ "tally": 1 }));
    env.stop().await;
    Ok(())
}

#[tokio::test]
async fn what_a_stopped_service_missed_it_hears_when_it_is_back() -> Done {
    let mut env = TestEnvironment::start(system(Publishing::InTheTransaction)).await?;
    env.stop_service("tally-service").await?;
    assert_eq!(env.post("/counts", json!({ "id": "a" })).await?.status, 201);
    assert_eq!(env.get("/tally").await?.status, 503);
    assert!(matches!(
        env.context("tally-service"),
        Err(Error::NotRunning { .. })
    ));

    env.start_service("tally-service").await?;
    assert_eq!(env.at_rest().await?, []);
    let tally = async || {
        env.get("/tally")
            .await
            .ok()
            .filter(|answer| answer.status == 200)
    };
    let tally = env.eventually("it is found again", tally).await?;
    assert_eq!(tally.body, json!({ "tally": 1 }));
    env.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_stub_answers_in_place_of_a_service() -> Done {
    let stub = Router::new().route("/tally", get(async || Json(json!({ "tally": 42 }))));
    let env = TestEnvironment::of(system(Publishing::InTheTransaction))
        .stub("tally-service", stub)
        .start()
        .await?;
    assert_eq!(env.get("/tally").await?.body, json!({ "tally": 42 }));
    assert!(matches!(
        env.context("tally-service"),
        Err(Error::NotRunning { .. })
    ));
    env.context("counter-service")?;
    env.stop().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn waiting_in_vain_says_for_what() -> Done {
    let env = TestEnvironment::of(system(Publishing::InTheTransaction))
        .only([])
        .start()
        .await?;
    let never = async || None::<()>;
    let error = env
        .eventually("pigs fly", never)
        .await
        .expect_err("they do not");
    assert_eq!(error.to_string(), "waited 20s in vain: pigs fly");
    Ok(())
}
