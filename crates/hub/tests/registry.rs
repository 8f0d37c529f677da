//! The registry over HTTP, as a client of any language meets it.

use std::{path::Path, time::Duration};

use axum::{
    body::Body,
    http::{Request, Response, StatusCode},
};
use discovery::Ttl;
use http_body_util::BodyExt;
use outrigger_hub::{Hub, Options};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const INSTANCES: &str = "/v1/registry/instances";
const WATCH: &str = "/v1/registry/services/user-service/watch";

async fn open(folder: &Path, options: Options) -> Hub {
    let url = format!("sqlite:{}", folder.join("hub.sqlite").display());
    Hub::open(&url, options).await.expect("opened")
}

async fn ask(hub: &Hub, method: &str, path: &str, body: impl Into<Body>) -> Response<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(body.into()).expect("a request");
    let answer = hub.routes().oneshot(request).await;
    answer.unwrap_or_else(|never| match never {})
}

async fn json_of(answer: Response<Body>) -> Value {
    let body = answer
        .into_body()
        .collect()
        .await
        .expect("whole")
        .to_bytes();
    serde_json::from_slice(&body).expect("JSON")
}

async fn put(hub: &Hub, id: &str, service: &str, address: &str) -> Response<Body> {
    let instance = json!({"id": id, "service": service, "address": address});
    ask(
        hub,
        "PUT",
        &format!("{INSTANCES}/{id}"),
        instance.to_string(),
    )
    .await
}

async fn ids(hub: &Hub) -> Vec<String> {
    let page = json_of(ask(hub, "GET", INSTANCES, Body::empty()).await).await;
    let instances = page["instances"].as_array().expect("a list");
    let id = |instance: &Value| instance["id"].as_str().expect("an id").to_owned();
    instances.iter().map(id).collect()
}

/// The next that is sent of a watch.
async fn next(events: &mut Body) -> String {
    let frame = events.frame().await.expect("goes on").expect("unbroken");
    String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text")
}

#[tokio::test]
async fn an_instance_of_three_fields_is_listed_with_the_defaults_and_its_last_heartbeat() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let answer = put(&hub, "a", "user-service", "127.0.0.1:1").await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let answer = put(&hub, "a", "user-service", "127.0.0.1:2").await;
    assert_eq!(answer.status(), StatusCode::OK, "replaced");

    let page = json_of(ask(&hub, "GET", INSTANCES, Body::empty()).await).await;
    let listed = &page["instances"][0];
    assert_eq!(listed["address"], "127.0.0.1:2");
    assert_eq!(
        (&listed["weight"], &listed["healthPath"]),
        (&json!(1), &json!("/health"))
    );
    let heard: env::Timestamp =
        serde_json::from_value(listed["lastHeartbeat"].clone()).expect("a time");
    assert!(env::now().duration_since(heard).abs().as_secs() < 60);
}

#[tokio::test]
async fn lists_are_in_pages_and_of_one_service_if_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    for number in 0..1001 {
        put(
            &hub,
            &format!("a{number:04}"),
            "user-service",
            &format!("127.0.0.1:{}", 1000 + number),
        )
        .await;
    }
    put(&hub, "b", "order-service", "127.0.0.1:1").await;
    let first = json_of(ask(&hub, "GET", INSTANCES, Body::empty()).await).await;
    assert_eq!(first["instances"].as_array().expect("a list").len(), 1000);
    assert_eq!(first["next"], "a0999");
    let path = format!("{INSTANCES}?after=a0999");
    let second = json_of(ask(&hub, "GET", &path, Body::empty()).await).await;
    assert_eq!(second["instances"].as_array().expect("a list").len(), 2);
    assert_eq!(second["next"], Value::Null);
    let path = format!("{INSTANCES}?service=order-service");
    let orders = json_of(ask(&hub, "GET", &path, Body::empty()).await).await;
    assert_eq!(orders["instances"][0]["id"], "b");
}

#[tokio::test]
async fn a_restarted_hub_forgets_nothing_and_remembers_nobody_who_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    put(&hub, "a", "user-service", "127.0.0.1:1").await;
    put(&hub, "b", "user-service", "127.0.0.1:2").await;
    put(&hub, "a", "user-service", "127.0.0.1:3").await;
    ask(&hub, "DELETE", &format!("{INSTANCES}/b"), Body::empty()).await;
    drop(hub);

    let hub = open(folder.path(), Options::default()).await;
    let page = json_of(ask(&hub, "GET", INSTANCES, Body::empty()).await).await;
    assert_eq!(page["instances"].as_array().expect("a list").len(), 1);
    assert_eq!(page["instances"][0]["address"], "127.0.0.1:3");
    let beat = format!("{INSTANCES}/a/heartbeat");
    let answer = ask(&hub, "POST", &beat, Body::empty()).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn who_takes_the_address_of_a_predecessor_takes_its_place_for_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    put(&hub, "a", "user-service", "127.0.0.1:1").await;
    put(&hub, "b", "user-service", "127.0.0.1:1").await;
    assert_eq!(ids(&hub).await, ["b"]);
    let beat = format!("{INSTANCES}/a/heartbeat");
    let answer = ask(&hub, "POST", &beat, Body::empty()).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    drop(hub);
    let hub = open(folder.path(), Options::default()).await;
    assert_eq!(
        ids(&hub).await,
        ["b"],
        "nor does it come back from the disk"
    );
    hub.forget(([127, 0, 0, 1], 1).into()).await.expect("gone");
    assert!(ids(&hub).await.is_empty());
}

/// Time is paused, so that what is waited for is exact.
#[tokio::test(start_paused = true)]
async fn g7_rotation_ends_for_the_silent_and_a_restart_begins_their_time_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let ttl = Ttl::of(Duration::from_secs(90));
    let start = async || {
        let options = Options {
            ttl,
            ..Options::default()
        };
        let hub = open(folder.path(), options).await;
        let (running, stop) = (hub.clone(), CancellationToken::new());
        let stopped = stop.clone();
        tokio::spawn(async move { running.run(stopped).await });
        (hub, stop)
    };
    let (hub, stop) = start().await;
    put(&hub, "a", "user-service", "127.0.0.1:1").await;
    env::sleep(Duration::from_secs(80)).await;
    stop.cancel();
    drop(hub);
    let (hub, stop) = start().await;
    env::sleep(Duration::from_secs(80)).await;
    assert_eq!(ids(&hub).await, ["a"], "the hub could not hear it");
    env::sleep(ttl.limit + ttl.sweep - Duration::from_secs(80)).await;
    assert!(ids(&hub).await.is_empty());
    stop.cancel();
    drop(hub);
    let (hub, _stop) = start().await;
    assert!(
        ids(&hub).await.is_empty(),
        "nor does it come back from the disk"
    );
}

/// What moleculer got wrong (#891): whoever judges stood still itself.
#[tokio::test(start_paused = true)]
async fn a_hub_that_stood_still_blames_nobody_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let running = hub.clone();
    tokio::spawn(async move { running.run(CancellationToken::new()).await });
    put(&hub, "a", "user-service", "127.0.0.1:1").await;
    tokio::task::yield_now().await;

    // Asleep for an hour, as a laptop with its lid shut; then one sweep before any heartbeat.
    tokio::time::advance(Duration::from_secs(3600)).await;
    env::sleep(Duration::from_secs(1)).await;
    assert_eq!(ids(&hub).await, ["a"]);
    env::sleep(Duration::from_secs(121)).await;
    assert!(ids(&hub).await.is_empty(), "now it had its time");
}

#[tokio::test]
async fn what_cannot_be_an_instance_is_refused_with_the_field() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let good = json!({"id": "a", "service": "user-service", "address": "127.0.0.1:1"});
    let with = |field: &str, value: Value| {
        let mut instance = good.clone();
        instance[field] = value;
        instance.to_string()
    };
    let many: serde_json::Map<_, _> = (0..33).map(|n| (n.to_string(), json!(""))).collect();
    let wrong = [
        ("address", with("address", json!("127.0.0.1"))),
        ("address", with("address", json!("0.0.0.0:80"))),
        ("address", with("address", json!("127.0.0.1:0"))),
        ("id", with("id", json!("b"))),
        ("service", with("service", json!(""))),
        ("service", with("service", json!("a\nb"))),
        ("version", with("version", json!("v".repeat(129)))),
        ("healthPath", with("healthPath", json!("http://elsewhere"))),
        ("weight", with("weight", json!(0))),
        ("weight", with("weight", json!(-1))),
        ("zone", with("zone", json!("a b"))),
        ("metadata", with("metadata", Value::Object(many))),
        (
            "service",
            json!({"id": "a", "address": "127.0.0.1:1"}).to_string(),
        ),
        ("(body)", "no JSON".to_owned()),
        ("(body)", format!("{good} {good}")),
        (
            "metadata",
            with("metadata", json!({})).replace("{}", &"[".repeat(10_000)),
        ),
    ];
    for (field, body) in wrong {
        let answer = ask(&hub, "PUT", &format!("{INSTANCES}/a"), body.clone()).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{body}");
        let problem = json_of(answer).await;
        assert_eq!(problem["field"], field, "{problem}");
    }
    let large = "x".repeat(70_000);
    let answer = ask(&hub, "PUT", &format!("{INSTANCES}/a"), large).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(ids(&hub).await.is_empty());
}

#[tokio::test]
async fn what_is_asked_of_nobody_and_nothing_is_a_problem() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    put(&hub, "a", "user-service", "127.0.0.1:1").await;
    let kind = async |answer: Response<Body>| {
        let (status, problem) = (answer.status().as_u16(), json_of(answer).await);
        let kind = problem["type"].as_str().expect("a type").to_owned();
        (
            status,
            kind.rsplit('/').next().unwrap_or_default().to_owned(),
        )
    };
    let problem = |status: u16, kind: &str| (status, kind.to_owned());
    let answer = ask(
        &hub,
        "POST",
        &format!("{INSTANCES}/b/heartbeat"),
        Body::empty(),
    )
    .await;
    assert_eq!(kind(answer).await, problem(404, "unknown-instance"));
    let answer = put(&hub, "a", "order-service", "127.0.0.1:1").await;
    assert_eq!(kind(answer).await, problem(409, "duplicate-id"));
    let answer = ask(&hub, "GET", "/v2/registry", Body::empty()).await;
    assert_eq!(kind(answer).await, problem(404, "route-not-found"));
    let answer = ask(&hub, "PATCH", INSTANCES, Body::empty()).await;
    assert_eq!(kind(answer).await, problem(405, "method-not-allowed"));
    let twice = format!("{INSTANCES}?service=a&service=b");
    let answer = ask(&hub, "GET", &twice, Body::empty()).await;
    assert_eq!(kind(answer).await, problem(400, "invalid-request"));
}

#[tokio::test]
async fn g9_overload_is_refused_past_the_bounds_and_a_place_that_was_left_is_free() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        instances: 1,
        watchers: 1,
        ..Options::default()
    };
    let hub = open(folder.path(), options).await;
    put(&hub, "a", "user-service", "127.0.0.1:1").await;
    let answer = put(&hub, "b", "user-service", "127.0.0.1:1").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    let answer = put(&hub, "a", "user-service", "127.0.0.1:2").await;
    assert_eq!(answer.status(), StatusCode::OK, "who is there may change");

    let first = ask(&hub, "GET", WATCH, Body::empty()).await;
    assert_eq!(first.status(), StatusCode::OK);
    let second = ask(&hub, "GET", WATCH, Body::empty()).await;
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(first);
    let third = ask(&hub, "GET", WATCH, Body::empty()).await;
    assert_eq!(third.status(), StatusCode::OK);
}

async fn watch(hub: &Hub, last: &str) -> Body {
    let request = Request::builder().uri(WATCH).header("last-event-id", last);
    let request = request.body(Body::empty()).expect("a request");
    let answer = hub.routes().oneshot(request).await;
    answer.unwrap_or_else(|never| match never {}).into_body()
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_it_broke_off_also_at_a_restarted_hub() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    put(&hub, "a", "user-service", "127.0.0.1:1").await;
    let mut events = watch(&hub, "").await;
    let first = next(&mut events).await;
    assert!(first.contains(r#""id":"a""#), "{first}");
    let id = first
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .expect("an id");
    assert!(
        next(&mut events).await.starts_with(':'),
        "nothing new: a comment"
    );
    drop((events, hub));

    let hub = open(folder.path(), Options::default()).await;
    let mut events = watch(&hub, id).await;
    assert!(next(&mut events).await.starts_with(':'), "it is as it was");
    put(&hub, "b", "user-service", "127.0.0.1:2").await;
    let second = next(&mut events).await;
    assert!(
        second.contains(r#""id":"a""#) && second.contains(r#""id":"b""#),
        "{second}"
    );
    let mut late = watch(&hub, id).await;
    assert_eq!(
        next(&mut late).await,
        second,
        "who missed something is told at once"
    );
}

#[tokio::test]
async fn a_slow_watcher_misses_what_was_in_between_but_not_the_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let mut events = watch(&hub, "").await;
    assert!(next(&mut events).await.contains("data: []"));
    for port in 1..=100 {
        put(&hub, "a", "user-service", &format!("127.0.0.1:{port}")).await;
    }
    let seen = next(&mut events).await;
    assert!(seen.contains("127.0.0.1:100"), "{seen}");
}

#[tokio::test(start_paused = true)]
async fn many_who_come_at_once_are_told_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let mut events = watch(&hub, "").await;
    next(&mut events).await;
    let coming = hub.clone();
    tokio::spawn(async move {
        for number in 0..200 {
            let address = format!("127.0.0.1:{}", 1000 + number);
            put(&coming, &format!("a{number}"), "user-service", &address).await;
            env::sleep(Duration::from_millis(5)).await;
        }
    });
    let (mut told, begun) = (0, env::instant());
    while !next(&mut events).await.contains("\"a199\"") {
        told += 1;
    }
    assert!(
        begun.elapsed() < Duration::from_millis(1200),
        "soon after the last"
    );
    assert!(told <= 11, "told {told} times within a second");
}

#[tokio::test(start_paused = true)]
async fn who_watches_before_anybody_is_there_hears_of_the_first_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let mut events = watch(&hub, "").await;
    next(&mut events).await;
    let begun = env::instant();
    put(&hub, "a", "user-service", "127.0.0.1:1").await;
    assert!(next(&mut events).await.contains("\"a\""));
    assert!(begun.elapsed() < Duration::from_millis(50), "{begun:?}");
}

#[tokio::test]
async fn a_hub_that_stops_ends_its_watches() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let mut events = watch(&hub, "").await;
    next(&mut events).await;
    let stop = CancellationToken::new();
    stop.cancel();
    hub.run(stop).await;
    assert!(events.frame().await.is_none());
}

#[tokio::test]
async fn the_document_names_the_paths_and_the_answers_that_there_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let document = json_of(ask(&hub, "GET", "/openapi.json", Body::empty()).await).await;
    let paths = document["paths"].as_object().expect("paths");
    assert_eq!(
        paths.len(),
        20,
        "a path came or went: name it in the document"
    );
    for (path, methods) in paths {
        let at = path
            .replace("{id}", "a")
            .replace("{service}", "user-service")
            .replace("{group}", "user-service")
            .replace("{member}", "nobody")
            .replace("{rewind}", "none");
        for (method, described) in methods.as_object().expect("methods") {
            if method == "parameters" {
                continue;
            }
            let answer = ask(&hub, &method.to_uppercase(), &at, Body::empty()).await;
            let status = answer.status().as_str().to_owned();
            assert!(
                described["responses"].get(&status).is_some(),
                "{method} {path}: {status}"
            );
        }
    }
}
