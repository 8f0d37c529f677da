//! The rate limit, on a clock that stands still unless it is told to move.

use std::{net::SocketAddr, time::Duration};

use axum_core::{body::Body, response::Response};
use http::{Request, StatusCode};
use outrigger_gateway::{ClientAddress, Gateway};

use crate::door::{Seen, gateway, see};

const CONFIG: &str = r#"
    [[route]]
    path = "/limited"
    methods = ["GET"]
    service = "a-service"
    rate_limit = { requests = 2, per = "1s", burst = 4 }

    [[route]]
    path = "/cached"
    methods = ["GET"]
    service = "a-service"
    cache = "1m"
    rate_limit = { requests = 1, per = "1m" }

    [[route]]
    path = "/free"
    methods = ["GET"]
    service = "a-service"
"#;

fn limited() -> Gateway {
    gateway(CONFIG, |_| async {
        Ok(Response::new(Body::from("answer")))
    })
}

async fn ask(gateway: &Gateway, path: &str, client: &str) -> Seen {
    let client: SocketAddr = client.parse().expect("an address");
    see(gateway, Request::get(path).extension(ClientAddress(client))).await
}

const ONE: &str = "192.0.2.1:1000";

#[tokio::test(start_paused = true)]
async fn g9_overload_past_its_limit_a_client_is_refused_until_it_has_waited() {
    let gateway = limited();
    for left in (0..4).rev() {
        let seen = ask(&gateway, "/limited", ONE).await;
        assert_eq!(seen.status, StatusCode::OK);
        assert_eq!(
            seen.header("ratelimit"),
            Some(&*format!("\"client\";r={left}"))
        );
        assert_eq!(seen.header("ratelimit-policy"), Some("\"client\";q=4;w=2"));
    }
    let refused = ask(&gateway, "/limited", ONE).await;
    assert_eq!(
        (refused.status, &*refused.kind()),
        (StatusCode::TOO_MANY_REQUESTS, "too-many-requests")
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("ratelimit"), Some("\"client\";r=0;t=1"));
    assert_eq!(
        refused.header("ratelimit-policy"),
        Some("\"client\";q=4;w=2")
    );

    tokio::time::advance(Duration::from_millis(499)).await;
    assert_eq!(
        ask(&gateway, "/limited", ONE).await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(ask(&gateway, "/limited", ONE).await.status, StatusCode::OK);
    assert_eq!(
        ask(&gateway, "/limited", ONE).await.status,
        StatusCode::TOO_MANY_REQUESTS
    );

    tokio::time::advance(Duration::from_secs(60)).await;
    let rested = ask(&gateway, "/limited", ONE).await;
    assert_eq!(
        rested.header("ratelimit"),
        Some("\"client\";r=3"),
        "no more than the burst is saved up"
    );
}

#[tokio::test(start_paused = true)]
async fn clients_and_routes_are_counted_apart() {
    let gateway = limited();
    for _ in 0..5 {
        ask(&gateway, "/limited", ONE).await;
    }
    assert_eq!(
        ask(&gateway, "/limited", "192.0.2.1:2000").await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(
        ask(&gateway, "/limited", "192.0.2.2:1000").await.status,
        StatusCode::OK
    );
    assert_eq!(ask(&gateway, "/cached", ONE).await.status, StatusCode::OK);
    let free = ask(&gateway, "/free", ONE).await;
    assert_eq!(
        (free.status, free.header("ratelimit")),
        (StatusCode::OK, None)
    );
}

#[tokio::test(start_paused = true)]
async fn a_network_of_ipv6_is_one_client() {
    let gateway = limited();
    for host in 0..4 {
        let client = format!("[2001:db8:0:1::{host}]:1000");
        assert_eq!(
            ask(&gateway, "/limited", &client).await.status,
            StatusCode::OK
        );
    }
    let same = ask(&gateway, "/limited", "[2001:db8:0:1:ffff::1]:1000").await;
    assert_eq!(same.status, StatusCode::TOO_MANY_REQUESTS);
    let other = ask(&gateway, "/limited", "[2001:db8:0:2::1]:1000").await;
    assert_eq!(other.status, StatusCode::OK);
    let mapped = ask(&gateway, "/limited", "[::ffff:192.0.2.1]:1000").await;
    assert_eq!(mapped.header("ratelimit"), Some("\"client\";r=3"));
    assert_eq!(
        ask(&gateway, "/limited", ONE).await.header("ratelimit"),
        Some("\"client\";r=2")
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_the_cache_counts_too() {
    let gateway = limited();
    assert_eq!(ask(&gateway, "/cached", ONE).await.status, StatusCode::OK);
    let refused = ask(&gateway, "/cached", ONE).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.header("retry-after"), Some("60"));
    let hit = ask(&gateway, "/cached", "192.0.2.2:1000").await;
    assert!(
        hit.header("cache-status")
            .is_some_and(|status| status.contains("hit"))
    );
    assert_eq!(
        hit.header("ratelimit"),
        Some("\"client\";r=0"),
        "the client's own, not the stored one's"
    );
}
