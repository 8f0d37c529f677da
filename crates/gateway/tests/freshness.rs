//! What may be stored and for how long, as plain functions.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};
use outrigger_gateway::cache::freshness::{Bypass, Freshness, Lookup, lookup};

const LIMIT: Duration = Duration::from_secs(60);

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&str, &str)| {
        let name: HeaderName = name.parse().expect("a name");
        (name, value.parse().expect("a value"))
    };
    HeaderMap::from_iter(lines.iter().map(line))
}

/// Seconds for which an answer with these headers may be given again.
fn seconds(lines: &[(&str, &str)]) -> Option<u64> {
    let now = env::instant();
    let fresh = Freshness::of(StatusCode::OK, &map(lines), LIMIT, now)?;
    fresh.left(now).map(|left| left.as_secs())
}

#[test]
fn the_route_says_how_long_and_the_answer_may_say_less() {
    assert_eq!(seconds(&[]), Some(60));
    assert_eq!(seconds(&[("cache-control", "max-age=5")]), Some(5));
    assert_eq!(seconds(&[("cache-control", "max-age=5000")]), Some(60));
    assert_eq!(
        seconds(&[("cache-control", "max-age=5, s-maxage=7")]),
        Some(7)
    );
    assert_eq!(seconds(&[("cache-control", "s-maxage=\"7\"")]), Some(7));
    assert_eq!(
        seconds(&[
            ("cache-control", "MAX-AGE=9"),
            ("cache-control", "max-age=5")
        ]),
        Some(5)
    );
    assert_eq!(seconds(&[("cache-control", "public")]), Some(60));
}

#[test]
fn what_must_not_be_shared_is_not_stored() {
    for directive in [
        "no-store",
        "No-Store",
        "public, no-store",
        "no-cache",
        "no-cache=\"x-a\"",
        "private",
        "private=\"x-a, x-b\"",
        "max-age=0",
        "max-age=-1",
        "max-age=soon",
        "max-age",
        "s-maxage=0, max-age=100",
    ] {
        assert_eq!(
            seconds(&[("cache-control", directive)]),
            None,
            "{directive}"
        );
    }
    assert_eq!(seconds(&[("set-cookie", "a=b")]), None);
    assert_eq!(seconds(&[("vary", "*")]), None);
    assert_eq!(seconds(&[("vary", "accept, *")]), None);
    assert_eq!(seconds(&[("vary", "accept"), ("vary", "not a name")]), None);
    assert_eq!(seconds(&[("vary", "accept")]), Some(60));
    let now = env::instant();
    for status in [201, 206, 301, 404, 500, 503] {
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(Freshness::of(status, &HeaderMap::new(), LIMIT, now), None);
    }
}

#[test]
fn a_quoted_comma_ends_no_directive() {
    let extension = ("cache-control", "ext=\"a, no-store, b\", max-age=5");
    assert_eq!(seconds(&[extension]), Some(5));
}

#[test]
fn expires_counts_where_there_is_no_max_age() {
    let date = ("date", "Sun, 06 Nov 1994 08:49:30 GMT");
    let expires = ("expires", "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(seconds(&[date, expires]), Some(7));
    assert_eq!(
        seconds(&[date, expires, ("cache-control", "max-age=5")]),
        Some(5)
    );
    assert_eq!(seconds(&[expires]), None);
    assert_eq!(seconds(&[("expires", "0")]), None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_ages_from_when_it_was_received() {
    let headers = map(&[("age", "10"), ("cache-control", "max-age=30")]);
    let received = env::instant();
    let fresh = Freshness::of(StatusCode::OK, &headers, LIMIT, received).expect("stored");
    assert_eq!(fresh.age(received), Duration::from_secs(10));
    tokio::time::advance(Duration::from_secs(19)).await;
    let later = env::instant();
    assert_eq!(fresh.age(later), Duration::from_secs(29));
    assert_eq!(fresh.left(later), Some(Duration::from_secs(1)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(fresh.left(env::instant()), None);
}

#[test]
fn an_answer_that_was_old_when_it_came_is_not_stored() {
    assert_eq!(seconds(&[("age", "60")]), None);
    assert_eq!(seconds(&[("age", "59")]), Some(1));
}

#[test]
fn a_request_says_whether_it_may_be_answered_from_the_cache() {
    let asked = |lines: &[(&str, &str)]| lookup(&map(lines));
    assert!(matches!(asked(&[]), Lookup::Reuse(any) if any.accepts(LIMIT)));
    assert_eq!(asked(&[("cache-control", "no-cache")]), Lookup::Refresh);
    assert_eq!(
        asked(&[("cache-control", "no-store")]),
        Lookup::Bypass(Bypass::Asked)
    );
    assert_eq!(
        asked(&[("authorization", "x")]),
        Lookup::Bypass(Bypass::Personal)
    );
    assert_eq!(
        asked(&[("cookie", "a=b")]),
        Lookup::Bypass(Bypass::Personal)
    );
    assert_eq!(
        asked(&[("range", "bytes=0-1")]),
        Lookup::Bypass(Bypass::Conditional)
    );
    assert_eq!(
        asked(&[("if-none-match", "*")]),
        Lookup::Bypass(Bypass::Conditional)
    );
    let Lookup::Reuse(young) = asked(&[("cache-control", "max-age=5")]) else {
        panic!("it may")
    };
    assert!(young.accepts(Duration::from_secs(5)));
    assert!(!young.accepts(Duration::from_secs(6)));
}
