//! The OpenMetrics text: that it parses, and what it may never hold.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use outrigger_telemetry::{
    Error, Metrics,
    metrics::{Breaker, Counter, Outcome},
};

/// The samples of an OpenMetrics text by series, its labels sorted, after checking the text's grammar.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut family = String::new();
    let mut families = Vec::new();
    let body = text
        .strip_suffix("# EOF\n")
        .expect("the text ends with EOF");
    for line in body.lines() {
        if let Some(meta) = line.strip_prefix("# ") {
            let mut words = meta.splitn(3, ' ');
            let (keyword, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(["HELP", "TYPE", "UNIT"].contains(&keyword), "{line}");
            if keyword == "HELP" {
                assert!(!families.contains(&name.to_owned()), "{name} comes twice");
                families.push(name.to_owned());
                family = name.to_owned();
            }
            assert_eq!(name, family, "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        assert!(series.starts_with(&family), "{line} is not of {family}");
        let series = match series.split_once('{') {
            Some((name, labels)) => format!("{name}{{{}}}", sorted(labels)),
            None => series.to_owned(),
        };
        let old = samples.insert(series.clone(), value.parse().expect("a number"));
        assert_eq!(old, None, "{series} comes twice");
    }
    samples
}

fn sorted(labels: &str) -> String {
    let labels = labels.strip_suffix("\"}").expect("labels are closed");
    let mut labels: Vec<String> = labels
        .split("\",")
        .map(|label| {
            let (name, value) = label.split_once("=\"").expect("a label has a value");
            let plain = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
            assert!(name.bytes().all(plain) && !value.contains('"'), "{label}");
            format!("{name}={value}")
        })
        .collect();
    labels.sort();
    labels.join(",")
}

#[test]
fn the_text_parses_with_every_family_in_use() {
    let metrics = Metrics::new("order-service");
    let milli = Duration::from_millis(1);
    metrics.http_server(&Method::POST, "/orders", 201, 3 * milli);
    metrics.http_server(&Method::POST, "/orders", 201, 30 * milli);
    metrics.http_client(&Method::GET, "user-service", Ok(StatusCode::OK), milli);
    metrics.http_client(&Method::GET, "user-service", Err("timeout"), 5000 * milli);
    metrics.message_processed("user.updated", "order-service", Outcome::Handled, milli);
    metrics.message_processed(
        "user.updated",
        "order-service",
        Outcome::DeadLettered,
        milli,
    );
    metrics.message_sent("order.created");
    metrics.batch_published(Ok(()), milli);
    metrics.outbox_backlog(17);
    metrics.outbox_lag(1500 * milli);
    metrics.outbox_refused(2);
    metrics.missing_events(3);
    metrics.breaker("user-service", "user-1", Breaker::Open);

    let samples = parse(&metrics.render());

    let name = "http_server_request_duration_seconds";
    let created = "http_request_method=POST,http_response_status_code=201,http_route=/orders";
    let bucket = |le| samples[&format!("{name}_bucket{{{created},le={le},service=order-service}}")];
    assert_eq!(
        (bucket("0.0025"), bucket("0.005"), bucket("+Inf")),
        (0.0, 1.0, 2.0)
    );
    let sum = samples[&format!("{name}_sum{{{created},service=order-service}}")];
    assert!((sum - 0.033).abs() < 1e-9);
    let of = |name: &str| {
        let found: Vec<_> = samples
            .iter()
            .filter(|(series, _)| series.starts_with(name))
            .collect();
        assert_eq!(found.len(), 1, "{name}");
        *found[0].1
    };
    assert_eq!(of("outrigger_outbox_messages"), 17.0);
    assert_eq!(of("outrigger_outbox_lag_seconds"), 1.5);
    assert_eq!(of("outrigger_outbox_refused_messages"), 2.0);
    assert_eq!(of("outrigger_missing_events"), 3.0);
    assert_eq!(of("outrigger_circuit_breaker_state"), 2.0);
    assert_eq!(of("messaging_client_sent_messages_total"), 1.0);
    let consumed =
        |series: &&String| series.starts_with("messaging_client_consumed_messages_total");
    assert_eq!(samples.keys().filter(consumed).count(), 2);
}

#[test]
fn a_method_that_a_client_invents_makes_no_series() {
    let metrics = Metrics::new("s");
    for number in 0..50 {
        let method = Method::from_bytes(format!("HACK{number}").as_bytes()).unwrap();
        metrics.http_server(&method, "/", 405, Duration::ZERO);
    }
    let counts = "http_server_request_duration_seconds_count";
    assert_eq!(metrics.render().matches(counts).count(), 1);
}

#[test]
fn a_breaker_that_is_gone_leaves_no_series() {
    let metrics = Metrics::new("s");
    metrics.breaker("user-service", "a", Breaker::HalfOpen);
    metrics.forget_breaker("user-service", "a");
    assert!(!metrics.render().contains(r#"instance="a""#));
}

#[test]
fn other_crates_add_metrics_of_their_own() {
    let metrics = Metrics::new("s");
    let retries = Counter::<u64>::default();
    metrics
        .register("saga_retries", "Steps tried again", retries.clone())
        .unwrap();
    let queue = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&queue);
    metrics
        .register_gauge("saga_active", "Sagas that run", move || {
            read.load(Ordering::Relaxed) as f64
        })
        .unwrap();

    retries.inc();
    queue.store(5, Ordering::Relaxed);

    let samples = parse(&metrics.render());
    assert_eq!(samples["saga_retries_total{service=s}"], 1.0);
    assert!(
        samples
            .iter()
            .any(|(series, value)| series.starts_with("saga_active") && *value == 5.0)
    );
}

#[test]
fn a_name_is_checked_before_it_breaks_the_text() {
    let metrics = Metrics::new("s");
    let counter = Counter::<u64>::default;
    for name in ["", "a b", "1st", "a-b", "A", "a\nb"] {
        let result = metrics.register(name, "help", counter());
        assert!(matches!(result, Err(Error::MetricName(_))), "{name:?}");
    }
    let taken = metrics.register("http_server_active_requests", "help", counter());
    assert!(matches!(taken, Err(Error::DuplicateMetric(_))));
    metrics.register("mine", "help", counter()).unwrap();
    assert!(metrics.register_gauge("mine", "help", || 0.0).is_err());
    parse(&metrics.render());
}
