//! What a service sees of a client's request, and a client of a service's answer.

use crate::door::{Asked, gateway, see};
use axum_core::{body::Body, response::Response};
use http::{Request, request};
use outrigger_gateway::{ClientAddress, Gateway};

const CONFIG: &str = r#"
    [[route]]
    path = "/orders/{id}"
    methods = ["GET", "POST"]
    service = "order-service"
    cache = "1m"
"#;
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A gateway to a service that answers with headers of every kind, and what it was asked.
fn watched() -> (Gateway, Asked) {
    let asked = Asked::default();
    let pen = asked.clone();
    let gateway = gateway(CONFIG, move |request| {
        pen.push(request.into_parts().0);
        async {
            let response = Response::builder()
                .header("x-correlation-id", "the service's own")
                .header("x-outrigger-instance", "order-7")
                .header("x-request-deadline", "5")
                .header("connection", "x-secret")
                .header("x-secret", "1")
                .header("keep-alive", "timeout=5")
                .header("transfer-encoding", "chunked")
                .header("x-public", "1")
                .body(Body::from("ok"));
            Ok(response.expect("an answer"))
        }
    });
    (gateway, asked)
}

async fn ask(gateway: &Gateway, asked: &Asked, request: request::Builder) -> request::Parts {
    see(gateway, request).await;
    let mut seen = asked.take();
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

fn text<'a>(parts: &'a request::Parts, name: &str) -> Option<&'a str> {
    parts
        .headers
        .get(name)
        .map(|value| value.to_str().expect("text"))
}

#[tokio::test]
async fn g10_closed_what_a_client_says_in_an_internal_header_never_passes() {
    let (gateway, asked) = watched();
    let request = Request::post("/orders/7")
        .header("authorization", "Bearer stolen")
        .header("x-request-deadline", "999999")
        .header("X-Outrigger-Caller", "payment-service")
        .header("x-outrigger-permissions", "call")
        .header("baggage", "admin=true")
        .header("forwarded", "for=127.0.0.1")
        .header("x-forwarded-for", "127.0.0.1")
        .header("x-real-ip", "127.0.0.1")
        .header("proxy-authorization", "Basic x")
        .header("traceparent", "not a trace")
        .header("tracestate", "a=b")
        .header("x-correlation-id", "not well-formed");
    let seen = ask(&gateway, &asked, request).await;
    let names: Vec<_> = seen.headers.keys().map(http::HeaderName::as_str).collect();
    let expected = ["x-correlation-id", "x-forwarded-proto", "forwarded", "via"];
    assert!(
        names.iter().all(|name| expected.contains(name)),
        "{names:?}"
    );
    assert_ne!(text(&seen, "x-correlation-id"), Some("not well-formed"));
    assert_eq!(text(&seen, "forwarded"), Some("proto=http"));
}

#[tokio::test]
async fn what_is_between_client_and_service_passes() {
    let (gateway, asked) = watched();
    let request = Request::post("/orders/7?a=b%20c&d")
        .header("content-type", "application/json")
        .header("idempotency-key", "k-1")
        .header("accept", "text/html")
        .header("cookie", "a=b")
        .header("x-correlation-id", "c-1")
        .header("traceparent", TRACE)
        .header("tracestate", "a=b");
    let seen = ask(&gateway, &asked, request).await;
    assert_eq!(
        seen.uri.path_and_query().map(|asked| asked.as_str()),
        Some("/orders/7?a=b%20c&d")
    );
    for (name, value) in [
        ("content-type", "application/json"),
        ("idempotency-key", "k-1"),
        ("accept", "text/html"),
        ("cookie", "a=b"),
        ("x-correlation-id", "c-1"),
        ("traceparent", TRACE),
        ("tracestate", "a=b"),
        ("via", "1.1 outrigger"),
    ] {
        assert_eq!(text(&seen, name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_service_is_told_who_asked() {
    let (gateway, asked) = watched();
    let client = "198.51.100.7:40000".parse().expect("an address");
    let request = Request::post("/orders/7")
        .header("host", "shop.example")
        .header("x-forwarded-for", "127.0.0.1")
        .extension(ClientAddress(client));
    let seen = ask(&gateway, &asked, request).await;
    assert_eq!(text(&seen, "x-forwarded-for"), Some("198.51.100.7"));
    assert_eq!(text(&seen, "x-forwarded-host"), Some("shop.example"));
    assert_eq!(
        text(&seen, "host"),
        None,
        "its client says where the service is"
    );
}

#[tokio::test]
async fn an_answer_is_made_fit_for_the_outside() {
    let (gateway, _) = watched();
    let seen = see(
        &gateway,
        Request::get("/orders/7").header("x-correlation-id", "c-1"),
    )
    .await;
    for name in [
        "x-outrigger-instance",
        "x-request-deadline",
        "connection",
        "x-secret",
        "keep-alive",
        "transfer-encoding",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("x-public"), Some("1"));
    assert_eq!(seen.header("x-correlation-id"), Some("c-1"));

    let hit = see(
        &gateway,
        Request::get("/orders/7").header("x-correlation-id", "c-2"),
    )
    .await;
    assert!(
        hit.header("cache-status")
            .is_some_and(|status| status.contains("hit"))
    );
    assert_eq!(
        hit.header("x-correlation-id"),
        Some("c-2"),
        "a hit is its own request's"
    );
    assert_eq!(hit.header("x-outrigger-instance"), None);
}

#[tokio::test]
async fn a_refusal_carries_the_correlation_id_too() {
    let (gateway, _) = watched();
    let seen = see(
        &gateway,
        Request::get("/nothing").header("x-correlation-id", "c-1"),
    )
    .await;
    assert_eq!(seen.problem()["correlationId"], "c-1");
    let seen = see(&gateway, Request::get("/nothing")).await;
    let made = seen.problem()["correlationId"].as_str().map(str::to_owned);
    assert!(made.is_some_and(|made| env::Uuid::parse_str(&made).is_ok()));
}
