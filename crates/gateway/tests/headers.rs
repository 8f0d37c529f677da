//! What passes the edge, as plain functions. Through the whole gateway: `hygiene.rs`.

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use outrigger_gateway::headers;
use proptest::prelude::*;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&str, &str)| {
        let name: HeaderName = name.parse().expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    };
    HeaderMap::from_iter(lines.iter().map(line))
}

fn admitted(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = map(lines);
    let client = "192.0.2.1:5000".parse().ok();
    headers::admit(&mut headers, &Uri::from_static("/a"), client);
    headers
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[test]
fn what_is_meant_for_the_connection_goes_no_further() {
    let mut headers = map(&[
        ("connection", "keep-alive, X-One"),
        ("connection", "x-two"),
        ("x-one", "1"),
        ("x-two", "2"),
        ("x-three", "3"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("te", "gzip"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("proxy-authorization", "Basic x"),
    ]);
    headers::strip_hop_by_hop(&mut headers);
    assert_eq!(headers, map(&[("x-three", "3")]));
}

#[test]
fn a_client_cannot_have_removed_what_the_gateway_says() {
    let all = "x-correlation-id, traceparent, x-forwarded-for, forwarded";
    let headers = admitted(&[("connection", all), ("x-correlation-id", "mine")]);
    assert_eq!(text(&headers, "x-forwarded-for"), Some("192.0.2.1"));
    assert!(text(&headers, "forwarded").is_some());
    let id = text(&headers, "x-correlation-id").expect("one is made");
    assert_ne!(id, "mine");
}

#[test]
fn a_well_formed_correlation_id_is_kept_and_any_other_replaced() {
    let id = |value: &str| {
        let headers = admitted(&[("x-correlation-id", value)]);
        text(&headers, "x-correlation-id")
            .expect("always one")
            .to_owned()
    };
    let longest = "x".repeat(128);
    for good in ["a", "order-7/retry.2", &longest] {
        assert_eq!(id(good), good);
    }
    let too_long = "x".repeat(129);
    for bad in ["", "two words", "tab\tbed", &too_long] {
        let made = id(bad);
        assert!(env::Uuid::parse_str(&made).is_ok(), "{bad}: {made}");
    }
    let twice = admitted(&[("x-correlation-id", "a"), ("x-correlation-id", "b")]);
    let values: Vec<_> = twice.get_all("x-correlation-id").iter().collect();
    assert!(values.len() == 1 && values[0] != "a" && values[0] != "b");
}

#[test]
fn a_well_formed_trace_is_continued_and_any_other_dropped() {
    let trace = |value: &str| {
        let headers = admitted(&[("traceparent", value), ("tracestate", "a=b")]);
        let state = text(&headers, "tracestate").is_some();
        let parent = text(&headers, "traceparent").map(str::to_owned);
        assert_eq!(
            parent.is_some(),
            state,
            "state without parent, or parent without state"
        );
        parent
    };
    let later = format!("{}-more", TRACE.replacen("00", "01", 1));
    for good in [TRACE, &later] {
        assert_eq!(trace(good).as_deref(), Some(good));
    }
    let bad = [
        String::new(),
        TRACE.to_uppercase(),
        format!("{TRACE}-more"),
        format!("{TRACE} "),
        TRACE.replacen("00", "ff", 1),
        TRACE.replace("b7ad6b7169203331", "0000000000000000"),
        TRACE.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
        TRACE.replace("b7ad6b71", "b7ad"),
    ];
    for bad in bad {
        assert_eq!(trace(bad.trim_start()), None, "{bad}");
    }
    let twice = admitted(&[("traceparent", TRACE), ("traceparent", TRACE)]);
    assert_eq!(text(&twice, "traceparent"), None);
    let long = "a=".to_owned() + &"b".repeat(600);
    let long = admitted(&[("traceparent", TRACE), ("tracestate", &long)]);
    assert_eq!(text(&long, "traceparent"), Some(TRACE));
    assert_eq!(text(&long, "tracestate"), None);
}

#[test]
fn who_asked_is_what_the_gateway_saw() {
    let headers = admitted(&[
        ("host", "shop.example:8080"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/admin"),
        ("x-real-ip", "10.0.0.1"),
    ]);
    let forwarded = "for=192.0.2.1;host=\"shop.example:8080\";proto=http";
    assert_eq!(text(&headers, "forwarded"), Some(forwarded));
    assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
    assert_eq!(text(&headers, "x-forwarded-for"), Some("192.0.2.1"));
    assert_eq!(text(&headers, "x-forwarded-proto"), Some("http"));
    assert_eq!(
        text(&headers, "x-forwarded-host"),
        Some("shop.example:8080")
    );
    assert!(!headers.contains_key("x-forwarded-prefix") && !headers.contains_key("x-real-ip"));

    let mut headers = HeaderMap::new();
    let client = "[2001:db8::1]:5000".parse().ok();
    headers::admit(&mut headers, &Uri::from_static("/a"), client);
    assert_eq!(
        text(&headers, "forwarded"),
        Some("for=\"[2001:db8::1]\";proto=http")
    );
    let mapped = "[::ffff:192.0.2.1]:5000".parse().ok();
    headers::admit(&mut headers, &Uri::from_static("/a"), mapped);
    assert_eq!(text(&headers, "x-forwarded-for"), Some("192.0.2.1"));
}

#[test]
fn a_host_that_is_none_is_not_handed_on() {
    for host in ["evil\";for=1", "user@host", "a b", "[", ""] {
        let headers = admitted(&[("host", host)]);
        assert_eq!(text(&headers, "x-forwarded-host"), None, "{host}");
    }
    let headers = admitted(&[("host", "a"), ("host", "b")]);
    assert_eq!(text(&headers, "x-forwarded-host"), None);
}

proptest! {
    #[test]
    fn g10_closed_no_internal_header_of_a_client_is_admitted(
        name in "(x-outrigger-[a-z]{0,8}|x-request-deadline|baggage|x-forwarded-[a-z]{1,8}|forwarded)",
        values in prop::collection::vec("[ -~]{0,20}", 1..4),
        connection in "[a-z, -]{0,30}",
    ) {
        let mut lines = vec![("connection", connection.as_str())];
        let marked: Vec<_> = values.iter().map(|value| format!("from-client{value}")).collect();
        lines.extend(marked.iter().map(|value| (name.as_str(), value.as_str())));
        let headers = admitted(&lines);
        let said = headers.values().any(|value| value.as_bytes().starts_with(b"from-client"));
        prop_assert!(!said, "{headers:?}");
    }
}
