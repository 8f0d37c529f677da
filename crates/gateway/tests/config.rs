//! `gateway.toml`: what it says is what is used, and what is wrong is named.

use std::time::Duration;

use outrigger_gateway::{Config, Error};

fn parse(text: &str) -> Result<Config, Error> {
    text.parse()
}

fn route(rest: &str) -> String {
    format!("[[route]]\npath = \"/a\"\nmethods = [\"GET\"]\nservice = \"a-service\"\n{rest}")
}

fn refusal(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn every_key_is_read() {
    let config = parse(
        r#"
        [limits]
        body = "2MiB"
        headers = "4KiB"
        uri = "512B"
        timeout = "250ms"
        idle = "1m"

        [cache]
        size = "1GiB"
        entry = "10KiB"

        [[route]]
        path = "/orders/{id}"
        methods = ["GET", "PUT"]
        service = "order-service"
        cache = "5s"
        rate_limit = { requests = 100, per = "1s", burst = 200 }
        timeout = "3s"
        body = "1KiB"
        "#,
    )
    .expect("valid");
    assert_eq!(config.limits.body.bytes(), 2 << 20);
    assert_eq!(config.limits.headers.bytes(), 4096);
    assert_eq!(config.limits.uri.bytes(), 512);
    assert_eq!(config.limits.timeout, Duration::from_millis(250));
    assert_eq!(config.limits.idle, Duration::from_secs(60));
    assert_eq!(config.cache.size.to_string(), "1GiB");
    assert_eq!(config.cache.entry.bytes(), 10 << 10);
    let [route] = &config.routes[..] else {
        panic!("one route")
    };
    assert_eq!(route.path, "/orders/{id}");
    assert_eq!(route.methods.to_string(), "GET, PUT");
    assert_eq!(route.service, "order-service");
    assert_eq!(route.cache, Some(Duration::from_secs(5)));
    assert_eq!(route.timeout, Some(Duration::from_secs(3)));
    assert_eq!(route.body.map(|body| body.bytes()), Some(1024));
    let limit = route.rate_limit.as_ref().expect("a rate limit");
    assert_eq!((limit.requests().get(), limit.burst().get()), (100, 200));
    assert_eq!(limit.per(), Duration::from_secs(1));
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = parse("").expect("valid");
    assert!(config.routes.is_empty());
    assert_eq!(config.limits.body.to_string(), "1MiB");
    assert_eq!(config.limits.timeout, Duration::from_secs(5));
}

#[test]
fn a_burst_is_as_many_as_are_refilled_unless_it_is_said() {
    let config = parse(&route("rate_limit = { requests = 7, per = \"1s\" }")).expect("valid");
    let limit = config.routes[0].rate_limit.as_ref().expect("a rate limit");
    assert_eq!(limit.burst().get(), 7);
}

#[test]
fn a_wrong_value_names_its_key() {
    let cases = [
        ("limits.body = \"1MB\"", "limits.body"),
        ("limits.body = \"0KiB\"", "limits.body"),
        ("limits.body = \"99999999999GiB\"", "limits.body"),
        ("limits.body = 5", "limits.body"),
        ("limits.timeout = \"5\"", "limits.timeout"),
        ("limits.timeout = \"0s\"", "limits.timeout"),
        ("limits.idle = \"25h\"", "limits.idle"),
        ("limits.idle = \"-1s\"", "limits.idle"),
        ("cache.entry = \"2GiB\"", "cache.entry"),
        (&route("cache = \"soon\""), "route[0].cache"),
        (&route("timeout = 3"), "route[0].timeout"),
        (
            &route("rate_limit = { requests = 0, per = \"1s\" }"),
            "route[0].rate_limit.requests",
        ),
        (
            &route("rate_limit = { requests = 1, per = \"\" }"),
            "route[0].rate_limit.per",
        ),
        (
            &route("rate_limit = { requests = 4000000000, per = \"1s\" }"),
            "route[0].rate_limit",
        ),
        (&route("").replace("GET", "get"), "route[0].methods"),
        (&route("").replace("GET", "TRACE"), "route[0].methods"),
        (
            &route("").replace("\"GET\"", "\"GET\", \"GET\""),
            "route[0].methods",
        ),
        (&route("").replace("\"GET\"", ""), "route[0].methods"),
        (&route("").replace("a-service", " "), "route[0].service"),
    ];
    for (text, key) in cases {
        let said = refusal(text);
        assert!(said.contains(&format!("`{key}`")), "{text}\n{said}");
    }
}

#[test]
fn a_key_that_does_not_exist_is_named_with_those_that_do() {
    for (text, wrong, known) in [
        ("limits.timeuot = \"5s\"", "timeuot", "timeout"),
        ("[[rout]]", "rout", "route"),
        (&route("cash = \"5s\""), "cash", "cache"),
    ] {
        let said = refusal(text);
        assert!(said.contains(&format!("`{wrong}`")), "{said}");
        assert!(said.contains(&format!("`{known}`")), "{said}");
    }
}

#[test]
fn what_is_no_toml_says_where() {
    let said = refusal("[limits\nbody = 1");
    assert!(said.contains("line 1"), "{said}");
}

#[test]
fn a_missing_key_is_named() {
    let said = refusal("[[route]]\npath = \"/a\"\nmethods = [\"GET\"]");
    assert!(said.contains("service"), "{said}");
}

#[test]
fn two_routes_never_take_the_same_request() {
    let twice = format!("{}{}", route(""), route(""));
    let error = parse(&twice).expect_err("a duplicate");
    assert!(matches!(error, Error::DuplicateRoute { ref path, .. } if path == "/a"));

    let by_method = format!("{}{}", route(""), route("").replace("GET", "POST"));
    assert_eq!(
        parse(&by_method).expect("different methods").routes.len(),
        2
    );

    let named = |name| route("").replace("/a", name);
    let alike = format!("{}{}", named("/a/{one}"), named("/a/{other}"));
    let error = parse(&alike).expect_err("ambiguous");
    assert!(matches!(error, Error::AmbiguousPath { .. }), "{error}");
}

#[test]
fn a_path_that_cannot_be_matched_is_refused() {
    for path in [
        "a", "", "/a?b", "/a#b", "/a b", "/ä", "/{a", "/{}", "/{*a}/b", "/{a}{b}",
    ] {
        let error = parse(&route("").replace("/a", path)).expect_err(path);
        assert!(matches!(error, Error::Path { .. }), "{path}: {error}");
        assert!(error.to_string().contains(path), "{error}");
    }
}

#[test]
fn only_answers_to_get_are_cached() {
    let text = route("cache = \"1s\"").replace("GET", "POST");
    let error = parse(&text).expect_err("no GET");
    assert!(matches!(error, Error::CacheWithoutGet { .. }));
}

#[test]
fn a_service_that_does_not_exist_is_named_with_those_that_do() {
    let config = parse(&route("")).expect("valid");
    assert_eq!(config.check_services(["a-service", "b-service"]), Ok(()));
    let error = config.check_services(["b-service"]).expect_err("unknown");
    let said = error.to_string();
    assert!(said.contains("`a-service`") && said.contains("b-service") && said.contains("`/a`"));
}
