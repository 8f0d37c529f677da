//! From a client through the gateway to services, on real sockets.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, routing};
use axum_core::{body::Body, response::Response};
use bytes::Bytes;
use discovery::{Clients, Instance, StaticList};
use env::Problem;
use futures::stream;
use http::{HeaderMap, Request, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use identity::{Issuer, Keyring, Verifier};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use crate::{
    door::{see, see_with, send},
    upstream::{app, gateway_to, gateway_with, listen, serve},
};

const CONFIG: &str = r#"
    limits = { body = "1KiB", timeout = "5s" }

    [[route]]
    path = "/any/{*rest}"
    methods = ["GET", "POST"]
    service = "a-service"

    [[route]]
    path = "/quick"
    methods = ["GET"]
    service = "a-service"
    timeout = "50ms"

    [[route]]
    path = "/slow"
    methods = ["GET"]
    service = "a-service"
    timeout = "10s"

    [[route]]
    path = "/cached"
    methods = ["GET"]
    service = "a-service"
    cache = "1h"
"#;
/// However slow the machine: what has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<F: Future>(future: F) -> F::Output {
    env::timeout(PATIENCE, future).await.expect("in time")
}

/// A body whose parts are sent one by one; it ends when the sender is dropped.
fn channel() -> (mpsc::UnboundedSender<&'static str>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let frames = stream::unfold(
        receiver,
        |mut receiver: mpsc::UnboundedReceiver<&str>| async {
            let data = receiver.recv().await?;
            Some((
                Ok::<_, Infallible>(Frame::data(Bytes::from(data))),
                receiver,
            ))
        },
    );
    (sender, Body::new(StreamBody::new(frames)))
}

async fn next(body: &mut Body) -> String {
    let frame = soon(body.frame()).await.expect("a frame").expect("data");
    String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text")
}

fn request(request: http::request::Builder, body: Body) -> Request<Body> {
    request.body(body).expect("a request")
}

#[tokio::test]
async fn an_answer_arrives_before_the_service_has_ended_it() {
    let (sender, body) = channel();
    let body = std::sync::Mutex::new(Some(body));
    let handler =
        async move || Response::new(body.lock().expect("unpoisoned").take().expect("once"));
    let handler = Arc::new(handler);
    let route = routing::get(move || {
        let handler = handler.clone();
        async move { handler().await }
    });
    let service = serve(Router::new().route("/any/a", route)).await;
    let gateway = gateway_to(CONFIG, &[("a-service", service)]);

    let asked = request(Request::get("/any/a"), Body::empty());
    let answer = soon(send(&gateway, asked)).await;
    let mut body = answer.into_body();
    for part in ["one", "two"] {
        sender.send(part).expect("read");
        assert_eq!(next(&mut body).await, part);
    }
    drop(sender);
    assert!(soon(body.frame()).await.is_none());
}

#[tokio::test]
async fn an_upload_reaches_the_service_before_the_client_has_ended_it() {
    let (seen, mut parts) = mpsc::unbounded_channel();
    let route = routing::post(move |request: Request<Body>| async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            let _ = seen.send(frame.into_data().expect("data"));
        }
        "done"
    });
    let service = serve(Router::new().route("/any/a", route)).await;
    let gateway = gateway_to(CONFIG, &[("a-service", service)]);

    let (sender, body) = channel();
    let call = tokio::spawn(async move { see_with(&gateway, Request::post("/any/a"), body).await });
    for part in ["one", "two"] {
        sender.send(part).expect("read");
        assert_eq!(soon(parts.recv()).await.expect("a part"), part);
    }
    drop(sender);
    assert_eq!(soon(call).await.expect("no panic").body, "done");
}

#[tokio::test]
async fn a_service_that_is_not_known_is_503() {
    let gateway = gateway_to(CONFIG, &[]);
    let seen = see(&gateway, Request::get("/any/a")).await;
    assert_eq!(seen.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(seen.problem()["instance"], "/any/a");
    assert!(seen.header("retry-after").is_some());
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_502_and_then_503() {
    // A port that was just given back.
    let (listener, address) = listen().await;
    drop(listener);
    let gateway = gateway_to(CONFIG, &[("a-service", address)]);
    let first = see(&gateway, Request::get("/any/a")).await;
    assert_eq!(
        (first.status, &*first.kind()),
        (StatusCode::BAD_GATEWAY, "bad-gateway")
    );
    for _ in 0..50 {
        let seen = see(&gateway, Request::get("/any/a")).await;
        if seen.status == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(seen.kind(), "service-unavailable");
            let wait = seen.header("retry-after").expect("when to come again");
            assert!(wait.parse::<u64>().is_ok_and(|seconds| seconds > 0));
            return;
        }
        assert_eq!(seen.status, StatusCode::BAD_GATEWAY);
    }
    panic!("the circuit never opened");
}

#[tokio::test]
async fn a_service_that_hangs_up_is_502() {
    let (mut listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut some = [0; 16];
            let _ = stream.read(&mut some).await;
        }
    });
    let gateway = gateway_to(CONFIG, &[("a-service", address)]);
    let seen = soon(see(&gateway, Request::get("/any/a"))).await;
    assert_eq!(
        (seen.status, &*seen.kind()),
        (StatusCode::BAD_GATEWAY, "bad-gateway")
    );
}

#[tokio::test]
async fn a_service_that_is_too_slow_is_504() {
    let route = routing::get(std::future::pending::<&'static str>);
    let service = serve(Router::new().route("/quick", route)).await;
    let gateway = gateway_to(CONFIG, &[("a-service", service)]);
    let seen = soon(see(&gateway, Request::get("/quick"))).await;
    assert_eq!(
        (seen.status, &*seen.kind()),
        (StatusCode::GATEWAY_TIMEOUT, "deadline-exceeded")
    );
}

#[tokio::test(start_paused = true)]
async fn a_route_may_wait_longer_than_services_wait_for_each_other() {
    let (mut listener, address) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        env::sleep(Duration::from_secs(9)).await;
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        stream.write_all(answer).await.expect("sent");
        std::future::pending::<()>().await;
    });
    let gateway = gateway_to(CONFIG, &[("a-service", address)]);
    let seen = see(&gateway, Request::get("/slow")).await;
    assert_eq!(seen.status, StatusCode::NO_CONTENT, "{seen:?}");
}

#[tokio::test]
async fn a_problem_of_the_service_reaches_the_client_as_it_is() {
    let refuse = || async {
        Problem::new(
            StatusCode::PAYMENT_REQUIRED,
            "payment-declined",
            "No money.",
        )
        .with("by", "bank")
    };
    let service = serve(Router::new().route("/any/a", routing::get(refuse))).await;
    let gateway = gateway_to(CONFIG, &[("a-service", service)]);
    let seen = see(&gateway, Request::get("/any/a")).await;
    assert_eq!(seen.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(
        seen.header("content-type"),
        Some("application/problem+json")
    );
    let problem: serde_json::Value = serde_json::from_str(&seen.body).expect("JSON");
    assert_eq!(
        (&problem["detail"], &problem["by"]),
        (&"No money.".into(), &"bank".into())
    );
}

#[tokio::test]
async fn a_client_that_breaks_off_does_not_turn_the_service_away() {
    let read = |body: Body| async move {
        body.collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default()
    };
    let service = serve(Router::new().route("/any/a", routing::post(read))).await;
    let gateway = gateway_to(CONFIG, &[("a-service", service)]);
    for _ in 0..30 {
        let broken = stream::iter([
            Ok(Frame::data(Bytes::from("a"))),
            Err(std::io::Error::other("gone")),
        ]);
        let broken = Body::new(StreamBody::new(broken));
        let seen = soon(see_with(&gateway, Request::post("/any/a"), broken)).await;
        assert_eq!(seen.status, StatusCode::BAD_REQUEST, "{seen:?}");

        let endless = stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from("x"))));
        let endless = Body::new(StreamBody::new(endless));
        let seen = soon(see_with(&gateway, Request::post("/any/a"), endless)).await;
        assert_eq!(seen.status, StatusCode::PAYLOAD_TOO_LARGE, "{seen:?}");
    }
    let seen = soon(see_with(&gateway, Request::post("/any/a"), "well")).await;
    assert_eq!((seen.status, &*seen.body), (StatusCode::OK, "well"));
}

#[tokio::test]
async fn an_answer_of_known_length_and_one_of_unknown_are_cached() {
    for chunked in [false, true] {
        let handler = move || async move {
            let body = if chunked {
                let (sender, body) = channel();
                let _ = sender.send("answer");
                body
            } else {
                Body::from("answer")
            };
            Response::new(body)
        };
        let service = serve(Router::new().route("/cached", routing::get(handler))).await;
        let gateway = serve(app(gateway_to(CONFIG, &[("a-service", service)]))).await;
        let client = discovery::http_client();
        let mut said = Vec::new();
        for _ in 0..2 {
            let uri = format!("http://{gateway}/cached");
            let asked = client.request(request(Request::get(uri), Body::empty()));
            let answer = soon(asked).await.expect("an answer");
            said.push(
                answer.headers()["cache-status"]
                    .to_str()
                    .expect("text")
                    .to_owned(),
            );
            assert_eq!(
                soon(answer.into_body().collect())
                    .await
                    .expect("a body")
                    .to_bytes(),
                "answer"
            );
        }
        assert_eq!(said[0], "outrigger; fwd=uri-miss; stored");
        assert!(said[1].starts_with("outrigger; hit; ttl="), "{said:?}");
    }
}

/// Says what the service was asked, as lines of text.
async fn confess(headers: HeaderMap, request: Request<Body>) -> String {
    let mut lines = vec![format!("{} {}", request.method(), request.uri())];
    for (name, value) in &headers {
        lines.push(format!("{name}: {}", value.to_str().expect("text")));
    }
    lines.join("\n")
}

#[tokio::test]
async fn g10_closed_services_see_the_gateways_token_and_no_internal_header_of_a_client() {
    let service = serve(Router::new().route("/any/a", routing::get(confess))).await;
    let keyring = Keyring::generate();
    let grants = [("a-service".to_owned(), vec![identity::CALL.to_owned()])];
    let issuer = Issuer::new(keyring.clone(), "gateway", grants.into());
    let registry = Arc::new(StaticList::new([Instance::new("a-service", service)]));
    let gateway = gateway_with(CONFIG, &Clients::new(registry, Some(issuer)));
    let door = serve(app(gateway)).await;

    // As bytes, for no client library would send this.
    let mut stream = env::net::connect(door).await.expect("a connection");
    let asked = "GET /any/a?x=1 HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer stolen\r\n\
        X-Outrigger-Caller: admin\r\nX-Request-Deadline: 999999999\r\nX-Forwarded-For: 10.0.0.1\r\n\
        Forwarded: for=10.0.0.1\r\nBaggage: admin=1\r\nTraceparent: junk\r\nX-Correlation-Id: c-1\r\n\
        Connection: close, x-correlation-id, x-secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\n\
        X-Correlation-Id: c-2\r\n\r\n";
    stream.write_all(asked.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer))
        .await
        .expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let lower = answer.to_ascii_lowercase();
    for leaked in [
        "stolen",
        "admin",
        "999999999",
        "10.0.0.1",
        "junk",
        "x-secret",
        "keep-alive",
        "\nte: ",
    ] {
        assert!(!lower.contains(leaked), "{leaked}: {answer}");
    }
    let said = |name: &str| {
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name}: {answer}"))
            .to_owned()
    };
    assert!(answer.contains("GET /any/a?x=1"));
    assert_eq!(said("x-forwarded-for"), "127.0.0.1");
    assert_eq!(said("x-forwarded-host"), "shop.example");
    assert_eq!(said("host"), service.to_string());
    let token = said("authorization");
    let mut headers = HeaderMap::new();
    headers.insert("authorization", token.parse().expect("a value"));
    let verifier = Verifier::new(&keyring, "a-service");
    let caller = verifier
        .verify_headers(&headers)
        .expect("the gateway's own token");
    assert_eq!(caller.service, "gateway");
}

#[tokio::test]
async fn a_request_of_http_2_goes_on_over_http_1() {
    let service = serve(Router::new().route("/any/a", routing::get(confess))).await;
    let gateway = gateway_to(CONFIG, &[("a-service", service)]);
    let asked = Request::get("http://shop.example/any/a")
        .version(Version::HTTP_2)
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    let seen = see(&gateway, asked).await;
    assert_eq!(seen.status, StatusCode::OK, "{seen:?}");
    assert!(seen.body.contains("cookie: a=1; b=2"), "{}", seen.body);
    assert!(
        seen.body.contains("x-forwarded-host: shop.example"),
        "{}",
        seen.body
    );
}
