//! A wall clock that jumps: leases are kept by the clock that only goes forward.

use std::{
    cell::Cell,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use discovery::Ttl;
use env::{
    Instant, Timestamp,
    net::{DynIo, DynListener},
    world::{self, World},
};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use outrigger_hub::{Hub, Options, bus};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Its wall clock goes on from wherever it was set to.
struct Jumping {
    start: Instant,
    set_to: Cell<Timestamp>,
    drawn: Cell<u8>,
}

impl World for Jumping {
    fn now(&self) -> Timestamp {
        self.set_to.get() + self.start.elapsed()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            self.drawn.set(self.drawn.get().wrapping_add(1));
            *byte = self.drawn.get();
        }
    }

    fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<DynListener>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<DynIo>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn local_address(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }
}

async fn ask(hub: &Hub, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::from(body.to_string()));
    let answer = hub.routes().oneshot(request.expect("a request")).await;
    let answer = answer.unwrap_or_else(|never| match never {});
    let status = answer.status();
    let body = answer.into_body().collect().await.expect("whole");
    let json = serde_json::from_slice(&body.to_bytes());
    (status, json.unwrap_or(Value::Null))
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_takes_nobody_out_of_rotation_or_of_a_group_and_keeps_nobody_in() {
    let day = |day: &str| -> Timestamp { format!("{day}T00:00:00Z").parse().expect("a time") };
    let clock = Rc::new(Jumping {
        start: env::instant(),
        set_to: Cell::new(day("2026-11-29")),
        drawn: Cell::new(0),
    });
    let _entered = world::enter(clock.clone());
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("hub.sqlite").display());
    let options = Options {
        ttl: Ttl::of(Duration::from_secs(30)),
        bus: bus::Options {
            lease: Duration::from_secs(30),
            ..bus::Options::default()
        },
        ..Options::default()
    };
    let hub = Hub::open(&url, options).await.expect("opened");
    let running = hub.clone();
    tokio::spawn(async move { running.run(CancellationToken::new()).await });

    let mut members = Vec::new();
    for (id, port) in [("lively", 1), ("silent", 2)] {
        let address = format!("127.0.0.1:{port}");
        let instance = json!({ "id": id, "service": "user-service", "address": address });
        let path = format!("/v1/registry/instances/{id}");
        assert_eq!(
            ask(&hub, "PUT", &path, &instance).await.0,
            StatusCode::CREATED
        );
        let group = "/v1/subscriptions/user-service/members";
        let (_, joined) = ask(&hub, "POST", group, &json!({ "types": ["a.*"] })).await;
        members.push(format!(
            "{group}/{}",
            joined["member"].as_str().expect("an id")
        ));
    }
    let beats = [
        "/v1/registry/instances/lively/heartbeat".to_owned(),
        format!("{}/heartbeat", members[0]),
    ];
    // Years ahead, and behind where it began: each time for longer than half a lease.
    for jump in ["2036-11-29", "1999-01-01", "2026-11-30"] {
        clock.set_to.set(day(jump));
        env::sleep(Duration::from_secs(20)).await;
        for beat in &beats {
            let (status, _) = ask(&hub, "POST", beat, &json!({})).await;
            assert_eq!(status, StatusCode::NO_CONTENT, "{jump}: {beat}");
        }
    }
    for gone in [
        "/v1/registry/instances/silent/heartbeat".to_owned(),
        format!("{}/heartbeat", members[1]),
    ] {
        let (status, _) = ask(&hub, "POST", &gone, &json!({})).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{gone}");
    }
}
