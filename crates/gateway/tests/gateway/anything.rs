//! Whatever is asked, the gateway answers: a panic in it fails these tests.

use std::collections::BTreeMap;

use crate::door::{gateway, send};
use axum_core::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::BodyExt;
use proptest::prelude::*;

const CONFIG: &str = r#"
    limits = { body = "64B", headers = "512B", uri = "128B", timeout = "1s" }

    [[route]]
    path = "/a/{id}"
    methods = ["GET", "POST"]
    service = "a-service"
    cache = "5s"
    rate_limit = { requests = 1000, per = "1s" }

    [[route]]
    path = "/b/{*rest}"
    methods = ["GET", "PUT", "DELETE", "OPTIONS"]
    service = "b-service"
"#;

fn header_names() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "accept",
        "age",
        "authorization",
        "cache-control",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "expires",
        "host",
        "if-none-match",
        "range",
        "set-cookie",
        "te",
        "trailer",
        "traceparent",
        "tracestate",
        "transfer-encoding",
        "upgrade",
        "vary",
        "x-correlation-id",
        "x-forwarded-for",
        "x-outrigger-any",
        "x-request-deadline",
    ];
    prop_oneof![
        3 => prop::sample::select(KNOWN).prop_map(str::to_owned),
        1 => "[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,12}",
    ]
}

fn header_values() -> impl Strategy<Value = Vec<u8>> {
    const KNOWN: &[&str] = &[
        "no-store, max-age=0",
        "max-age=99999999999999999999",
        "s-maxage=\"",
        "private=\"a, b",
        "*",
        "accept, ,,",
        "a@b:99999",
        "[::1]:80",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "close, x-a, \"",
        "18446744073709551615",
        "-1",
        "Sun, 06 Nov 9999 08:49:37 GMT",
    ];
    prop_oneof![
        3 => prop::sample::select(KNOWN).prop_map(|value| value.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn headers() -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
    let line = (header_names(), header_values()).prop_filter_map("no header", |(name, value)| {
        Some((name.parse().ok()?, HeaderValue::from_bytes(&value).ok()?))
    });
    prop::collection::vec(line, 0..8)
}

fn uris() -> impl Strategy<Value = Uri> {
    let path = prop_oneof![
        "/a/[a-z%.]{1,6}",
        "/b(/[!-~]{0,6}){0,3}",
        "(/[!-~]{0,5}){0,4}(\\?[!-~]{0,20})?",
        "http://[a-z]{1,5}(:[0-9]{1,5})?/a/1",
        "[a-z]{1,5}:[0-9]{1,4}",
        Just("*".to_owned()),
        "/a/\\PC{0,10}",
        "/a/x{100,140}",
    ];
    path.prop_filter_map("no URI", |text| text.parse().ok())
}

fn methods() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("GET".to_owned()),
        Just("HEAD".to_owned()),
        Just("POST".to_owned()),
        Just("CONNECT".to_owned()),
        "[A-Z!#$%&'*+.^_`|~-]{1,8}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn every_request_is_answered_whatever_either_side_says(
        asks in prop::collection::vec((methods(), uris(), headers(), 0usize..100), 1..4),
        answer in headers(),
        status in 200u16..600,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let answers = runtime.block_on(async move {
            let gateway = gateway(CONFIG, move |request: Request<Body>| {
                let answer = answer.clone();
                async move {
                    let _ = request.into_body().collect().await;
                    let mut response = Response::new(Body::from("answer"));
                    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
                    response.headers_mut().extend(answer);
                    Ok(response)
                }
            });
            let mut answers = BTreeMap::<u16, usize>::new();
            for (method, uri, headers, length) in asks {
                let Ok(mut request) = Request::builder()
                    .method(method.as_str())
                    .uri(uri)
                    .body(Body::from(vec![b'x'; length]))
                else {
                    continue;
                };
                request.headers_mut().extend(headers);
                let response = send(&gateway, request).await;
                let seen = response.headers().get("x-correlation-id");
                assert!(seen.is_some_and(|id| id.to_str().is_ok()));
                *answers.entry(response.status().as_u16()).or_default() += 1;
                let _ = response.into_body().collect().await;
            }
            answers
        });
        for status in answers.keys() {
            prop_assert!((200..600).contains(status));
        }
    }
}
