//! The bus over HTTP, as a client of any language meets it.

use std::{collections::BTreeMap, path::Path, time::Duration};

use axum::{
    body::Body,
    http::{Request, Response, StatusCode, header},
};
use http_body_util::BodyExt;
use identity::{CALL, Issuer, Keyring, OPERATE, Verifier};
use outrigger_hub::{Hub, Options, bus};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const GROUP: &str = "/v1/subscriptions/orders";
const MANY: &str = "application/cloudevents-batch+json";
const LEASE: Duration = Duration::from_secs(30);

async fn open(folder: &Path, options: Options) -> Hub {
    let url = format!("sqlite:{}", folder.join("hub.sqlite").display());
    let hub = Hub::open(&url, options).await.expect("opened");
    let running = hub.clone();
    tokio::spawn(async move { running.run(CancellationToken::new()).await });
    hub
}

async fn send(hub: &Hub, request: Request<Body>) -> Response<Body> {
    let answer = hub.routes().oneshot(request).await;
    answer.unwrap_or_else(|never| match never {})
}

/// The status of the answer and what it holds; `Null` where that is nothing.
async fn read(answer: Response<Body>) -> (StatusCode, Value) {
    let status = answer.status();
    let body = answer.into_body().collect().await.expect("whole");
    let json = serde_json::from_slice(&body.to_bytes());
    (status, json.unwrap_or(Value::Null))
}

async fn post(hub: &Hub, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = Request::post(path).body(Body::from(body.to_string()));
    read(send(hub, request.expect("a request")).await).await
}

async fn publish_as(hub: &Hub, kind: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    let request = Request::post("/v1/events").header(header::CONTENT_TYPE, kind);
    read(send(hub, request.body(body.into()).expect("a request")).await).await
}

fn event(key: &str, number: u32) -> Value {
    json!({
        "specversion": "1.0",
        "id": format!("{key}-{number}"),
        "source": "till",
        "type": "order.created",
        "partitionkey": key,
        "data": { "number": number },
    })
}

async fn publish(hub: &Hub, events: &[Value]) {
    let published = publish_as(hub, MANY, Value::from(events).to_string()).await;
    assert_eq!(published, (StatusCode::NO_CONTENT, Value::Null));
}

/// Joins, and returns the path of the member.
async fn join(hub: &Hub) -> String {
    let types = json!({ "types": ["order.*"] });
    let (status, joined) = post(hub, &format!("{GROUP}/members"), &types).await;
    assert_eq!(status, StatusCode::CREATED);
    format!(
        "{GROUP}/members/{}",
        joined["member"].as_str().expect("an id")
    )
}

async fn pull(hub: &Hub, member: &str, pull: &Value) -> Vec<Value> {
    let (status, taken) = post(hub, &format!("{member}/pull"), pull).await;
    assert_eq!(status, StatusCode::OK, "{taken}");
    taken.as_array().expect("a batch").clone()
}

fn ids(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["id"].as_str().expect("an id"))
        .collect()
}

async fn settle(hub: &Hub, member: &str, settle: &Value) -> (StatusCode, Value) {
    post(hub, &format!("{member}/settle"), settle).await
}

fn kind(problem: &Value) -> &str {
    let kind = problem["type"].as_str().expect("a type");
    kind.rsplit('/').next().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn an_event_goes_from_one_http_client_to_another_and_comes_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let member = join(&hub).await;
    let mut strange = event("a", 1);
    strange["colour"] = json!("ä");
    let one = publish_as(
        &hub,
        "application/cloudevents+json; charset=utf-8",
        strange.to_string(),
    );
    assert_eq!(one.await.0, StatusCode::NO_CONTENT);
    publish(&hub, &[strange.clone(), event("a", 2), event("b", 1)]).await;

    let taken = pull(&hub, &member, &json!({ "limit": 10 })).await;
    assert_eq!(
        ids(&taken),
        ["a-1", "b-1"],
        "no two of one key, and none twice"
    );
    let lease = |place: usize| taken[place]["deliverylease"].clone();
    assert_eq!(taken[0]["deliveryattempt"], 1);
    let mut came = taken[0].clone();
    for ours in ["deliverylease", "deliveryattempt"] {
        came.as_object_mut().expect("an object").remove(ours);
    }
    assert_eq!(came, strange);

    let settled = json!({
        "done": [lease(0)],
        "retry": [{ "lease": lease(1), "afterMs": 5000 }],
    });
    let settled = settle(&hub, &member, &settled).await;
    assert_eq!(settled, (StatusCode::OK, json!({ "lost": [] })));
    let again = settle(&hub, &member, &json!({ "done": [lease(0), "no lease"] })).await;
    assert_eq!(again.1, json!({ "lost": [lease(0), "no lease"] }));
    assert_eq!(ids(&pull(&hub, &member, &json!({})).await), ["a-2"]);
    let begun = env::instant();
    let put_off = pull(&hub, &member, &json!({ "holds": ["2"] })).await;
    assert_eq!(
        (ids(&put_off), &put_off[0]["deliveryattempt"]),
        (vec!["b-1"], &json!(2))
    );
    assert!(begun.elapsed() > Duration::from_secs(4));

    let request = Request::get("/v1/subscriptions").body(Body::empty());
    let (_, groups) = read(send(&hub, request.expect("a request")).await).await;
    let status = json!({ "group": "orders", "types": ["order.*"], "pending": 2, "members": 1 });
    assert_eq!(groups, json!({ "groups": [status] }));
}

#[tokio::test(start_paused = true)]
async fn g2_not_lost_what_a_silent_member_holds_goes_to_others_and_its_word_comes_too_late() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let (dead, busy) = (join(&hub).await, join(&hub).await);
    publish(&hub, &[event("a", 1), event("b", 1), event("a", 2)]).await;
    let taken = pull(&hub, &dead, &json!({ "limit": 1 })).await;
    assert_eq!(ids(&taken), ["a-1"]);
    let own = pull(&hub, &busy, &json!({})).await;
    assert_eq!(ids(&own), ["b-1"]);

    let holds = json!({ "holds": [own[0]["deliverylease"]] });
    // Whoever gives a sign of life keeps what it holds, however long it takes.
    let beating = async {
        loop {
            let (status, _) = post(&hub, &format!("{busy}/heartbeat"), &json!({})).await;
            assert_eq!(status, StatusCode::NO_CONTENT);
            env::sleep(LEASE / 3).await;
        }
    };
    let begun = env::instant();
    let inherited = tokio::select! {
        inherited = async {
            env::sleep(LEASE / 2).await;
            let mut inherited = pull(&hub, &busy, &holds).await;
            while inherited.is_empty() {
                inherited = pull(&hub, &busy, &holds).await;
            }
            inherited
        } => inherited,
        () = beating => unreachable!("it beats for ever"),
    };
    assert_eq!(ids(&inherited), ["a-1"]);
    let waited = begun.elapsed();
    assert!(
        waited >= LEASE && waited < LEASE + Duration::from_secs(2),
        "{waited:?}"
    );

    let late = json!({ "done": [taken[0]["deliverylease"]] });
    let (status, problem) = settle(&hub, &dead, &late).await;
    assert_eq!(
        (status, kind(&problem)),
        (StatusCode::NOT_FOUND, "unknown-member")
    );
    let holds = json!({ "waitMs": 0, "holds": [own[0]["deliverylease"], late["done"][0]] });
    assert!(
        pull(&hub, &busy, &holds).await.is_empty(),
        "a-1 is still being handled"
    );
    settle(&hub, &busy, &late).await;
    assert_eq!(ids(&pull(&hub, &busy, &holds).await), ["a-2"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_answer_held_is_given_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let member = join(&hub).await;
    publish(&hub, &[event("a", 1), event("b", 1)]).await;
    let lost = pull(&hub, &member, &json!({ "limit": 1 })).await;
    let again = pull(&hub, &member, &json!({ "limit": 1 })).await;
    assert_eq!(ids(&lost), ids(&again));
    assert_eq!(
        again[0]["deliveryattempt"], 1,
        "nobody had begun to handle it"
    );
    let holds = json!({ "holds": [again[0]["deliverylease"]] });
    assert_eq!(ids(&pull(&hub, &member, &holds).await), ["b-1"]);
    // A member that wants nothing more says what it has.
    let (status, _) = post(&hub, &format!("{member}/heartbeat"), &holds).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let other = join(&hub).await;
    assert_eq!(ids(&pull(&hub, &other, &json!({})).await), ["b-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_later_pull_ends_an_earlier_one_and_leaving_ends_both() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let member = join(&hub).await;
    let path = format!("{member}/pull");
    let waits = json!({});
    let (earlier, later) = tokio::join!(biased; post(&hub, &path, &waits), async {
        let later = post(&hub, &path, &waits);
        let leaving = async {
            env::sleep(Duration::from_secs(1)).await;
            let leave = Request::delete(&member).body(Body::empty());
            send(&hub, leave.expect("a request")).await
        };
        tokio::join!(later, leaving).0
    });
    for (status, problem) in [earlier, later] {
        assert_eq!(
            (status, kind(&problem)),
            (StatusCode::SERVICE_UNAVAILABLE, "pull-ended")
        );
    }
    let (status, _) = post(&hub, &path, &waits).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn a_pull_waits_no_longer_than_it_says_and_takes_no_more_bytes_than_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let member = join(&hub).await;
    let begun = env::instant();
    let none = pull(&hub, &member, &json!({ "waitMs": 1000 })).await;
    assert!(none.is_empty() && begun.elapsed() >= Duration::from_secs(1));
    assert!(begun.elapsed() < Duration::from_secs(2));

    let mut large = event("a", 1);
    large["data"] = json!("x".repeat(3000));
    let mut other = large.clone();
    (other["id"], other["partitionkey"]) = (json!("b-1"), json!("b"));
    publish(&hub, &[large, other]).await;
    let small = json!({ "maxBytes": 5000 });
    assert_eq!(ids(&pull(&hub, &member, &small).await), ["a-1"]);
    let holds = json!({ "maxBytes": 1, "holds": ["1"] });
    assert_eq!(
        ids(&pull(&hub, &member, &holds).await),
        ["b-1"],
        "one in any case"
    );
}

#[tokio::test]
async fn what_cannot_be_published_is_refused_with_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let with = |field: &str, value: Value| {
        let mut event = event("a", 1);
        event[field] = value;
        json!([event]).to_string()
    };
    let many: Vec<Value> = (0..1025).map(|number| event("a", number)).collect();
    let refused = [
        (400, "invalid-request", "garbage".to_owned()),
        (400, "invalid-request", String::new()),
        (400, "invalid-request", "[".repeat(100_000)),
        (400, "invalid-request", "\u{0}\u{ff}".to_owned()),
        (400, "invalid-request", event("a", 1).to_string()),
        (400, "invalid-request", with("specversion", json!("0.3"))),
        (400, "invalid-request", with("id", json!(""))),
        (400, "invalid-request", with("id", json!("a\u{0}"))),
        (
            400,
            "invalid-request",
            with("source", json!("s".repeat(513))),
        ),
        (400, "invalid-request", with("type", json!(7))),
        (400, "invalid-request", with("time", json!("yesterday"))),
        (400, "invalid-request", Value::from(many).to_string()),
        (
            413,
            "event-too-large",
            with("data", json!("x".repeat(1024 * 1024))),
        ),
        (413, "unreadable-body", " ".repeat(9 * 1024 * 1024)),
    ];
    for (expected, named, body) in refused {
        let start: String = body.chars().take(60).collect();
        let (status, problem) = publish_as(&hub, MANY, body).await;
        assert_eq!(status, expected, "{start}: {problem}");
        assert_eq!(kind(&problem), named, "{start}");
    }
    let (status, problem) = publish_as(&hub, "text/plain", "a").await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{problem}");
    // Nothing of a batch with a wrong one is taken.
    let half = json!([event("a", 1), { "specversion": "1.0" }]);
    assert_eq!(publish_as(&hub, MANY, half.to_string()).await.0, 400);
    let member = join(&hub).await;
    assert!(
        pull(&hub, &member, &json!({ "waitMs": 0 }))
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn what_is_no_request_of_a_member_is_refused_with_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let member = join(&hub).await;
    let members = format!("{GROUP}/members");
    let many: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
    let refused = [
        (&*members, json!({ "types": ["*"] }), "invalid-pattern"),
        (&*members, json!({ "types": many }), "invalid-request"),
        (&*members, json!({ "kinds": [] }), "invalid-request"),
        (
            "/v1/subscriptions/a%20b/members",
            json!({ "types": [] }),
            "invalid-request",
        ),
        (
            &*format!("{member}/pull"),
            json!({ "limit": -1 }),
            "invalid-request",
        ),
        (
            &*format!("{member}/pull"),
            json!({ "holds": many }),
            "invalid-request",
        ),
        (
            &*format!("{member}/settle"),
            json!({ "done": many }),
            "invalid-request",
        ),
        (&*format!("{member}/settle"), json!(7), "invalid-request"),
        (
            &*format!("{GROUP}/rewinds"),
            json!({ "since": "once" }),
            "invalid-request",
        ),
    ]
    .map(|(path, body, named)| (path.to_owned(), body, named));
    for (path, body, named) in refused {
        let (status, problem) = post(&hub, &path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {problem}");
        assert_eq!(kind(&problem), named, "{path}");
    }
    let elsewhere = member.replace("orders", "others");
    let (status, _) = post(&hub, &format!("{elsewhere}/pull"), &json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "a member is of one group");
}

#[tokio::test(start_paused = true)]
async fn g9_overload_there_are_no_more_groups_members_and_held_events_than_may_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let bus = bus::Options {
        groups: 1,
        members: 2,
        ..bus::Options::default()
    };
    let options = Options {
        bus,
        ..Options::default()
    };
    let hub = open(folder.path(), options).await;
    let types = json!({ "types": ["order.*"] });
    let (first, _second) = (join(&hub).await, join(&hub).await);
    let (status, problem) = post(&hub, "/v1/subscriptions/others/members", &types).await;
    assert_eq!((status.as_u16(), kind(&problem)), (503, "too-many-groups"));
    let (status, problem) = post(&hub, &format!("{GROUP}/members"), &types).await;
    assert_eq!((status.as_u16(), kind(&problem)), (503, "too-many-members"));

    for start in [0, 1000] {
        let events = (start..start + 1000).map(|number| event(&number.to_string(), number));
        publish(&hub, &events.collect::<Vec<_>>()).await;
    }
    let taken = pull(&hub, &first, &json!({ "limit": 5000 })).await;
    assert_eq!(taken.len(), 1024);
    let leases: Vec<&Value> = taken.iter().map(|it| &it["deliverylease"]).collect();
    let holds = json!({ "holds": leases });
    let (status, problem) = post(&hub, &format!("{first}/pull"), &holds).await;
    assert_eq!((status.as_u16(), kind(&problem)), (409, "holds-too-much"));

    // The places of those who are silent are free again.
    env::sleep(2 * LEASE).await;
    let member = join(&hub).await;
    let forget = Request::delete(GROUP)
        .body(Body::empty())
        .expect("a request");
    let (status, problem) = read(send(&hub, forget).await).await;
    assert_eq!((status.as_u16(), kind(&problem)), (409, "group-in-use"));
    for path in [member.as_str(), GROUP] {
        let delete = Request::delete(path)
            .body(Body::empty())
            .expect("a request");
        assert_eq!(send(&hub, delete).await.status(), StatusCode::NO_CONTENT);
    }
    let (status, _) = post(&hub, "/v1/subscriptions/others/members", &types).await;
    assert_eq!(
        status,
        StatusCode::CREATED,
        "there is room for another group"
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_taken_back_by_somebody_who_dies_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = open(folder.path(), Options::default()).await;
    let member = join(&hub).await;
    publish(&hub, &[event("a", 1), event("a", 2)]).await;
    let first = pull(&hub, &member, &json!({})).await;
    let done = json!({ "done": [first[0]["deliverylease"]] });
    settle(&hub, &member, &done).await;
    let since = json!({ "since": "2000-01-01T00:00:00Z" });
    let (status, begun) = post(&hub, &format!("{GROUP}/rewinds"), &since).await;
    assert_eq!(status, StatusCode::CREATED, "{begun}");
    let quiet = json!({ "waitMs": 1000 });
    assert!(
        pull(&hub, &member, &quiet).await.is_empty(),
        "nothing is given meanwhile"
    );
    let taken = pull(&hub, &member, &json!({})).await;
    assert_eq!(ids(&taken), ["a-2"]);
    let rewind = begun["rewind"].as_str().expect("an id");
    let finish = format!("{GROUP}/rewinds/{rewind}/finish");
    let (status, problem) = post(&hub, &finish, &Value::Null).await;
    assert_eq!((status.as_u16(), kind(&problem)), (404, "unknown-rewind"));
    let (status, problem) = post(&hub, "/v1/subscriptions/nobody/rewinds", &since).await;
    assert_eq!((status.as_u16(), kind(&problem)), (404, "unknown-group"));
}

#[tokio::test]
async fn a_hub_that_stops_ends_every_wait() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("hub.sqlite").display());
    let hub = Hub::open(&url, Options::default()).await.expect("opened");
    let member = join(&hub).await;
    let stop = CancellationToken::new();
    let stopping = async {
        tokio::task::yield_now().await;
        stop.cancel();
        hub.run(stop.clone()).await;
    };
    let (path, waits) = (format!("{member}/pull"), json!({}));
    let (pulled, ()) = tokio::join!(post(&hub, &path, &waits), stopping);
    assert_eq!(kind(&pulled.1), "pull-ended");
}

#[tokio::test]
async fn g10_closed_nobody_publishes_or_takes_events_for_another_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let keyring = Keyring::generate();
    let options = Options {
        verifier: Some(Verifier::new(&keyring, discovery::HUB)),
        ..Options::default()
    };
    let hub = open(folder.path(), options).await;
    let bearer = |service: &str, may: &[&str]| {
        let may = may.iter().map(|it| (*it).to_owned()).collect();
        let grants = BTreeMap::from([(discovery::HUB.to_owned(), may)]);
        let issuer = Issuer::new(keyring.clone(), service, grants);
        issuer.bearer(discovery::HUB).expect("a token")
    };
    let ask = async |method: &str, path: &str, body: Value, token: Option<_>| {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::CONTENT_TYPE, MANY);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Body::from(body.to_string()));
        send(&hub, request.expect("a request"))
            .await
            .status()
            .as_u16()
    };
    let events = json!([event("a", 1)]);
    let types = json!({ "types": ["order.*"] });
    let members = format!("{GROUP}/members");
    let stranger = Issuer::new(
        Keyring::generate(),
        "till",
        BTreeMap::from([(discovery::HUB.to_owned(), vec![CALL.to_owned()])]),
    );
    let forged = stranger.bearer(discovery::HUB).expect("a token");
    for token in [None, Some(forged)] {
        assert_eq!(
            ask("POST", "/v1/events", events.clone(), token.clone()).await,
            401
        );
        assert_eq!(
            ask("POST", &members, types.clone(), token.clone()).await,
            401
        );
        assert_eq!(
            ask("GET", "/v1/subscriptions", Value::Null, token).await,
            401
        );
    }
    let (till, orders) = (bearer("till", &[CALL]), bearer("orders", &[CALL]));
    let operator = bearer("operator", &[CALL, OPERATE]);
    assert_eq!(
        ask("POST", "/v1/events", events.clone(), Some(orders.clone())).await,
        403
    );
    assert_eq!(
        ask("POST", "/v1/events", events, Some(till.clone())).await,
        204
    );
    assert_eq!(
        ask("POST", &members, types.clone(), Some(till.clone())).await,
        403
    );
    assert_eq!(ask("POST", &members, types, Some(orders)).await, 201);
    assert_eq!(ask("DELETE", GROUP, Value::Null, Some(till)).await, 403);
    assert_eq!(ask("DELETE", GROUP, Value::Null, Some(operator)).await, 409);
}
