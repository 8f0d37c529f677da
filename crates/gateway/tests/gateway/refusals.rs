//! What the gateway refuses, and in which words.

use std::{convert::Infallible, time::Duration};

use crate::door::{gateway, see, see_with, send};
use axum_core::{body::Body, response::Response};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use outrigger_gateway::{Gateway, layers::Refusal};

const CONFIG: &str = r#"
    limits = { body = "10B", headers = "1KiB", uri = "64B", timeout = "5s", idle = "30s" }

    [[route]]
    path = "/orders/{id}"
    methods = ["GET"]
    service = "order-service"

    [[route]]
    path = "/orders"
    methods = ["POST", "PUT"]
    service = "order-service"

    [[route]]
    path = "/photos"
    methods = ["POST"]
    service = "photo-service"
    body = "1KiB"
    timeout = "1s"
"#;

/// Answers with the body of the request.
async fn echo(request: Request<Body>) -> Result<Response, Refusal> {
    let body = request.into_body().collect().await;
    let body = body.map_err(|_| env::Problem::internal())?;
    Ok(Response::new(Body::from(body.to_bytes())))
}

fn echoing() -> Gateway {
    gateway(CONFIG, echo)
}

fn frames(chunks: impl futures::Stream<Item = &'static str> + Send + 'static) -> Body {
    let frame = |data: &'static str| Ok::<_, Infallible>(Frame::data(Bytes::from(data)));
    Body::new(StreamBody::new(chunks.map(frame)))
}

#[tokio::test]
async fn an_unknown_route_is_404() {
    let seen = see(&echoing(), Request::get("/nothing?a=b")).await;
    assert_eq!(
        (seen.status, &*seen.kind()),
        (StatusCode::NOT_FOUND, "route-not-found")
    );
    assert_eq!(seen.problem()["instance"], "/nothing");
}

#[tokio::test]
async fn an_unknown_method_is_405_with_allow() {
    let gateway = echoing();
    let seen = see(&gateway, Request::delete("/orders/1")).await;
    assert_eq!(seen.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(seen.kind(), "method-not-allowed");
    assert_eq!(seen.header("allow"), Some("GET, HEAD"));
    let seen = see(&gateway, Request::get("/orders")).await;
    assert_eq!(seen.header("allow"), Some("POST, PUT"));
}

#[tokio::test]
async fn a_path_with_dot_segments_is_400() {
    for path in [
        "/orders/..",
        "/orders/.",
        "/orders/%2e%2E",
        "/orders/.%2e",
        "/../orders/1",
    ] {
        let seen = see(&echoing(), Request::get(path)).await;
        assert_eq!(
            (seen.status, &*seen.kind()),
            (StatusCode::BAD_REQUEST, "invalid-path"),
            "{path}"
        );
    }
    for path in [
        "/orders/...",
        "/orders/a..b",
        "/orders/.a",
        "/orders/%2e%2ea",
    ] {
        assert_eq!(
            see(&echoing(), Request::get(path)).await.status,
            StatusCode::OK,
            "{path}"
        );
    }
}

#[tokio::test]
async fn g9_overload_a_head_that_is_too_long_is_414_or_431() {
    let gateway = echoing();
    let longest = "x".repeat(64 - "/orders/".len());
    let seen = see(&gateway, Request::get(format!("/orders/{longest}"))).await;
    assert_eq!(seen.status, StatusCode::OK);
    let seen = see(&gateway, Request::get(format!("/orders/{longest}x"))).await;
    assert_eq!(
        (seen.status, &*seen.kind()),
        (StatusCode::URI_TOO_LONG, "uri-too-long")
    );

    let many = Request::get("/orders/1").header("x-a", "x".repeat(400));
    assert_eq!(see(&gateway, many).await.status, StatusCode::OK);
    let many = Request::get("/orders/1")
        .header("x-a", "x".repeat(600))
        .header("x-a", "x".repeat(600));
    let seen = see(&gateway, many).await;
    let expected = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    assert_eq!(
        (seen.status, &*seen.kind()),
        (expected, "headers-too-large")
    );
}

#[tokio::test]
async fn g9_overload_a_body_that_says_it_is_too_long_is_413_before_it_is_read() {
    let gateway = gateway(CONFIG, |_| async {
        unreachable!("the service is not asked")
    });
    let seen = see_with(&gateway, Request::post("/orders"), "eleven byte").await;
    assert_eq!(
        (seen.status, &*seen.kind()),
        (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large")
    );
    assert!(
        seen.problem()["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("10B"))
    );
}

#[tokio::test]
async fn g9_overload_a_body_that_turns_out_too_long_is_413_while_it_streams() {
    let gateway = echoing();
    let fits = frames(futures::stream::iter(["01234", "56789"]));
    let seen = see_with(&gateway, Request::post("/orders"), fits).await;
    assert_eq!((seen.status, &*seen.body), (StatusCode::OK, "0123456789"));
    // It would never end by itself.
    let endless = frames(futures::stream::repeat("01234"));
    let seen = see_with(&gateway, Request::post("/orders"), endless).await;
    assert_eq!(
        (seen.status, &*seen.kind()),
        (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large")
    );
    // Its rest stays unread: the client must not send its next request behind it.
    assert_eq!(seen.headers["connection"], "close");
}

#[tokio::test]
async fn a_route_has_its_own_limit() {
    let photo = "x".repeat(1024);
    let seen = see_with(&echoing(), Request::post("/photos"), photo.clone()).await;
    assert_eq!((seen.status, seen.body), (StatusCode::OK, photo.clone()));
    let seen = see_with(&echoing(), Request::post("/photos"), photo + "x").await;
    assert_eq!(seen.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_in_time_is_504() {
    let gateway = gateway(CONFIG, |_| std::future::pending());
    for (request, seconds) in [
        (Request::get("/orders/1"), 5),
        (Request::post("/photos"), 1),
    ] {
        let start = env::instant();
        let seen = see(&gateway, request).await;
        assert_eq!(
            (seen.status, &*seen.kind()),
            (StatusCode::GATEWAY_TIMEOUT, "deadline-exceeded")
        );
        let waited = env::instant() - start;
        assert_eq!(waited.as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_told_how_long_it_has() {
    let gateway = gateway(CONFIG, |_| async {
        let left = env::RequestContext::current()
            .remaining()
            .expect("a deadline");
        Ok(Response::new(Body::from(format!("{left:?}"))))
    });
    assert_eq!(see(&gateway, Request::post("/photos")).await.body, "1s");
    let longer = Request::get("/orders/1").header("x-request-deadline", "600000");
    assert_eq!(
        see(&gateway, longer).await.body,
        "5s",
        "a client sets no deadline"
    );
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_falls_silent_is_408() {
    let config = CONFIG.replace("timeout = \"5s\"", "timeout = \"1h\"");
    let gateway = gateway(&config, echo);
    let silent = frames(futures::stream::iter(["01"]).chain(futures::stream::pending()));
    let seen = see_with(&gateway, Request::post("/orders"), silent).await;
    assert_eq!(
        (seen.status, &*seen.kind()),
        (StatusCode::REQUEST_TIMEOUT, "body-timeout")
    );
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_the_clients_fault() {
    let broken = futures::stream::iter([
        Ok(Frame::data(Bytes::from_static(b"01"))),
        Err(std::io::Error::other("gone")),
    ]);
    let broken = Body::new(StreamBody::new(broken));
    let seen = see_with(&echoing(), Request::post("/orders"), broken).await;
    assert_eq!(
        (seen.status, &*seen.kind()),
        (StatusCode::BAD_REQUEST, "body-broken-off")
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_falls_silent_is_broken_off_and_a_slow_one_is_not() {
    let gateway = gateway(CONFIG, |_| async {
        let slow = futures::stream::iter(["a", "b", "c"]).then(|part| async move {
            env::sleep(Duration::from_secs(29)).await;
            part
        });
        Ok(Response::new(frames(
            slow.chain(futures::stream::pending()),
        )))
    });
    let request = Request::get("/orders/1")
        .body(Body::empty())
        .expect("a request");
    let mut body = send(&gateway, request).await.into_body();
    for expected in ["a", "b", "c"] {
        let frame = body.frame().await.expect("a frame").expect("data");
        assert_eq!(frame.into_data().expect("data"), expected);
        // A client that is slow to read is no silence of the service.
        env::sleep(Duration::from_secs(3600)).await;
    }
    let start = env::instant();
    body.frame().await.expect("an end").expect_err("broken off");
    assert_eq!((env::instant() - start).as_secs(), 30);
}

#[tokio::test]
async fn trailers_of_a_request_go_no_further() {
    let gateway = gateway(CONFIG, |request| async {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("a body");
        let trailers = body.trailers().is_some() || parts.headers.contains_key("trailer");
        Ok(Response::new(Body::from(trailers.to_string())))
    });
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-outrigger-admin", HeaderValue::from_static("yes"));
    let frames = [
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"a"))),
        Ok(Frame::trailers(trailers)),
    ];
    let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
    let request = Request::post("/orders").header("trailer", "x-outrigger-admin");
    assert_eq!(see_with(&gateway, request, body).await.body, "false");
}

#[tokio::test]
async fn refusals_are_measured_under_their_route() {
    let gateway = echoing();
    for request in [
        Request::get("/nothing/secret"),
        Request::delete("/orders/1"),
        Request::get("/orders/1"),
    ] {
        see(&gateway, request).await;
    }
    let large = Request::post("/orders");
    see_with(&gateway, large, "much too long").await;
    let metrics = gateway.metrics().render();
    let counted = |route: &str, status: &str| {
        metrics.lines().any(|line| {
            line.starts_with("http_server_request_duration_seconds_count")
                && line.contains(&format!("http_route=\"{route}\""))
                && line.contains(&format!("http_response_status_code=\"{status}\""))
        })
    };
    assert!(counted("(unmatched)", "404"), "{metrics}");
    assert!(counted("(unmatched)", "405"));
    assert!(counted("/orders/{id}", "200"));
    assert!(counted("/orders", "413"));
    assert!(!metrics.contains("secret"));
}

#[tokio::test]
async fn the_routes_are_listed() {
    let gateway = echoing();
    let paths: Vec<_> = gateway.routes().iter().map(|route| &*route.path).collect();
    assert_eq!(paths, ["/orders/{id}", "/orders", "/photos"]);
}

#[tokio::test]
async fn head_is_answered_as_get_is() {
    let gateway = gateway(CONFIG, |request| async move {
        assert_eq!(request.method(), Method::HEAD);
        Ok(Response::new(Body::empty()))
    });
    assert_eq!(
        see(&gateway, Request::head("/orders/1")).await.status,
        StatusCode::OK
    );
}
