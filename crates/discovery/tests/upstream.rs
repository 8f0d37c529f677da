//! Which instance is asked, which a second time, and which is left alone.

mod server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    http::{Request, StatusCode},
    routing::{get, post},
};
use env::{Problem, RequestContext};
use futures::stream;
use http_body_util::BodyExt;
use outrigger_discovery::{
    Clients, Error, InProcess, Instance, Registry, Settings, StaticList, Ttl, balance::Strategy,
};
use resilience::breaker;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};

use crate::server::{
    SERVICE, client, client_with, clients, echo, hangs_up, instances, nobody, serve, until, user,
};

/// Answers every user with this.
fn named(name: &'static str) -> Router {
    Router::new().route("/users/{id}", get(move || async move { Json(name) }))
}

fn upload(body: Body) -> Request<Body> {
    let request = Request::post("/same").body(body);
    request.expect("a request")
}

#[tokio::test]
async fn without_an_instance_the_caller_is_told_so() {
    let error = user(&client(&[])).await.expect_err("nobody is there");
    assert!(matches!(error, Error::NoInstances { .. }));
    assert_eq!(Problem::from(error).status, 503);
}

#[tokio::test]
async fn who_cannot_be_connected_to_is_passed_over() {
    let client = client(&[nobody().await, serve(echo()).await, nobody().await]);
    for _ in 0..20 {
        let answer = user(&client).await;
        assert!(answer.expect("the one that is there").is_some());
    }
}

#[tokio::test]
async fn a_body_goes_to_the_one_that_can_be_connected_to() {
    let same = Router::new().route("/same", post(|body: Bytes| async { body }));
    let upstream = clients(&[nobody().await, serve(same).await]).upstream(SERVICE);
    for _ in 0..6 {
        let answer = upstream.send(upload(Body::from("whole"))).await;
        let body = answer.expect("answered").into_body().collect().await;
        assert_eq!(body.expect("read").to_bytes(), "whole");
    }
}

/// A port that a service had is another's after a crash: who is there now says that the request is not for it.
#[tokio::test]
async fn who_is_at_the_address_of_an_instance_that_is_gone_is_passed_over_also_for_a_write() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let another = Router::new().fallback(async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        StatusCode::MISDIRECTED_REQUEST
    });
    let same = Router::new().route("/same", post(|body: Bytes| async { body }));
    let upstream = clients(&[serve(another.clone()).await, serve(same).await]).upstream(SERVICE);
    for _ in 0..40 {
        let answer = upstream.send(upload(Body::from("whole"))).await;
        let answer = answer.expect("answered");
        assert_eq!(answer.status(), StatusCode::OK);
        let body = answer.into_body().collect().await;
        assert_eq!(body.expect("read").to_bytes(), "whole");
    }
    let asked = asked.load(Ordering::Relaxed);
    assert!((1..20).contains(&asked), "it is left alone soon: {asked}");

    let alone = clients(&[serve(another).await]).upstream(SERVICE);
    let error = alone.send(upload(Body::from("whole"))).await;
    let error = error.expect_err("nobody of the service is there");
    assert!(matches!(error, Error::Misdirected { .. }), "{error}");
    assert_eq!(Problem::from(error).status, 502);
}

#[tokio::test]
async fn a_read_whose_connection_broke_is_made_once_more_elsewhere() {
    let asked = Arc::new(AtomicUsize::new(0));
    let broken = hangs_up(&asked).await;
    let mixed = client(&[broken, serve(echo()).await]);
    for _ in 0..10 {
        assert!(user(&mixed).await.expect("answered").is_some());
    }
    assert!(asked.swap(0, Ordering::Relaxed) > 0, "it was tried");

    let all_broken = [broken, hangs_up(&asked).await, hangs_up(&asked).await];
    let error = user(&client(&all_broken)).await.expect_err("all hang up");
    assert!(matches!(error, Error::Transport { .. }));
    assert_eq!(Problem::from(error).status, 502);
    assert_eq!(
        asked.load(Ordering::Relaxed),
        2,
        "once more, not until all failed"
    );
}

#[tokio::test]
async fn a_write_whose_connection_broke_is_not_made_twice() {
    let asked = Arc::new(AtomicUsize::new(0));
    let client = client(&[hangs_up(&asked).await, hangs_up(&asked).await]);
    let posted = client.post::<_, Value>("/users/{id}", &[&"ada"], &());
    let error = posted.await.expect_err("it hangs up");
    assert!(matches!(error, Error::Transport { .. }));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_fault_of_the_instance() {
    let same = Router::new().route("/same", post(|body: Bytes| async { body }));
    let upstream = clients(&[serve(same).await]).upstream(SERVICE);
    for _ in 0..20 {
        let parts = [Ok("begun"), Err(std::io::Error::other("gone"))];
        let error = upstream
            .send(upload(Body::from_stream(stream::iter(parts))))
            .await;
        let error = error.expect_err("no whole body");
        assert!(matches!(error, Error::RequestBody { .. }), "{error:?}");
        assert_eq!(Problem::from(error).status, 400);
    }
    let answer = upstream.send(upload(Body::from("whole"))).await;
    assert_eq!(answer.expect("the circuit is closed").status(), 200);
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let same = Router::new().route("/same", post(|body: Body| async { body }));
    let upstream = clients(&[serve(same).await]).upstream(SERVICE);
    let (parts, streamed) = mpsc::channel::<&'static str>(1);
    let streamed = stream::unfold(streamed, |mut streamed| async {
        let part = streamed.recv().await?;
        Some((Ok::<_, std::io::Error>(part), streamed))
    });

    parts.send("first").await.expect("taken");
    let answer = upstream.send(upload(Body::from_stream(streamed))).await;
    let mut body = answer.expect("answered").into_body();
    for part in ["first", "second", "third"] {
        if part != "first" {
            parts.send(part).await.expect("taken");
        }
        let back = body.frame().await.expect("a part").expect("read");
        assert_eq!(back.into_data().expect("data"), part);
    }
    drop(parts);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_request_is_under_way_until_its_answer_has_ended() {
    let parts = || stream::iter([Ok::<_, std::io::Error>("a")]);
    let endless = move || async move {
        use futures::StreamExt as _;
        Body::from_stream(parts().chain(stream::pending()))
    };
    let short = move || async move { Body::from_stream(parts()) };
    let routes = |name| {
        let routes = named(name).route("/endless", get(endless));
        routes.route("/short", get(short))
    };
    let addresses = [serve(routes("a")).await, serve(routes("b")).await];
    let settings = Settings {
        strategy: Strategy::LeastConnections,
        ..Settings::default()
    };
    let registry = Arc::new(StaticList::new(instances(&addresses)));
    let clients = Clients::with_settings(registry, None, settings);
    let (upstream, client) = (clients.upstream(SERVICE), clients.client(SERVICE));
    let open = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        upstream.send(request).await.expect("answered").into_body()
    };
    let asked = async || {
        let mut asked = Vec::new();
        for _ in 0..6 {
            asked.push(
                client
                    .get::<String>("/users/{id}", &[&1])
                    .await
                    .expect("answered"),
            );
        }
        asked.sort();
        asked.dedup();
        asked.len()
    };

    let body = open("/endless").await;
    assert_eq!(asked().await, 1, "only the other is idle");
    drop(body);
    assert_eq!(asked().await, 2, "given up");

    let mut body = open("/short").await;
    while body.frame().await.is_some() {}
    assert_eq!(asked().await, 2, "read to its end");
}

#[tokio::test]
async fn the_strategy_is_the_one_that_was_set() {
    let addresses = [serve(named("a")).await, serve(named("b")).await];
    let settings = Settings {
        strategy: Strategy::RoundRobin,
        ..Settings::default()
    };
    let client = client_with(&addresses, settings);
    let mut asked = Vec::new();
    for _ in 0..4 {
        let name = client.get::<String>("/users/{id}", &[&1]).await;
        asked.push(name.expect("answered").expect("found"));
    }
    assert_eq!(asked[..2], asked[2..]);
    assert_ne!(asked[0], asked[1]);
}

/// With breakers that stay open for longer than a test takes.
fn patient() -> Settings {
    let breaker = breaker::Settings {
        recovery: Duration::from_mins(1),
        ..breaker::Settings::default()
    };
    Settings {
        breaker,
        ..Settings::default()
    }
}

#[tokio::test]
async fn g7_an_instance_that_fails_requests_is_left_alone() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let broken = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { StatusCode::INTERNAL_SERVER_ERROR }
    };
    let broken = serve(Router::new().route("/users/{id}", get(broken))).await;
    let client = client_with(&[broken], patient());
    for _ in 0..20 {
        assert!(user(&client).await.is_err());
    }
    assert_eq!(asked.load(Ordering::Relaxed), 5, "five failures in a row");
    let Err(Error::CircuitOpen { retry_after, .. }) = user(&client).await else {
        panic!("refused")
    };
    let recovery = patient().breaker.recovery;
    assert!(retry_after > recovery / 2 && retry_after < recovery * 2);
}

#[tokio::test]
async fn g7_an_instance_that_hangs_is_left_alone() {
    let never = || async { std::future::pending::<()>().await };
    let hanging = serve(Router::new().route("/users/{id}", get(never))).await;
    let client = client_with(&[hanging], patient());
    for _ in 0..5 {
        let context = RequestContext::new().within(Duration::from_millis(20));
        let error = context.scope(user(&client)).await.expect_err("too late");
        assert!(matches!(error, Error::DeadlineExceeded { .. }));
    }
    let error = user(&client).await.expect_err("refused");
    assert!(matches!(error, Error::CircuitOpen { .. }));
}

#[tokio::test]
async fn an_instance_that_works_again_is_called_again_after_three_successes() {
    let works = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&works);
    let answer = move || {
        let works = switch.load(Ordering::Relaxed);
        async move {
            works
                .then_some(Json(1))
                .ok_or(StatusCode::INTERNAL_SERVER_ERROR)
        }
    };
    let breaker = breaker::Settings {
        failures: 2,
        recovery: Duration::from_millis(20),
        ..breaker::Settings::default()
    };
    let settings = Settings {
        breaker,
        ..Settings::default()
    };
    let address = serve(Router::new().route("/users/{id}", get(answer))).await;
    let client = client_with(&[address], settings);
    let is_open = async || matches!(user(&client).await, Err(Error::CircuitOpen { .. }));
    let recovers = || async { user(&client).await.is_ok() };

    until(is_open).await;
    works.store(true, Ordering::Relaxed);
    until(recovers).await;
    works.store(false, Ordering::Relaxed);
    assert!(!is_open().await, "a probe, which fails");
    assert!(
        is_open().await,
        "one success of three: one failure opens it again"
    );

    works.store(true, Ordering::Relaxed);
    until(recovers).await;
    for _ in 0..2 {
        user(&client).await.expect("it works");
    }
    works.store(false, Ordering::Relaxed);
    assert!(!is_open().await, "closed, it takes two failures");
    assert!(!is_open().await);
    assert!(is_open().await);
}

#[tokio::test]
async fn g7_one_that_left_gets_nothing_new_and_ends_what_it_has() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, wait) = (Arc::clone(&begun), Arc::clone(&go));
    let slow = move || {
        let (told, wait) = (Arc::clone(&told), Arc::clone(&wait));
        async move {
            told.notify_one();
            wait.notified().await;
            Json("leaving")
        }
    };
    let leaving = serve(Router::new().route("/users/{id}", get(slow))).await;
    let leaving = Instance::new(SERVICE, leaving);
    let registry = InProcess::new(Ttl::default());
    registry
        .register(leaving.clone())
        .await
        .expect("registered");
    let client = Clients::new(Arc::new(registry.clone()), None).client(SERVICE);
    let name = async |client: outrigger_discovery::Client| {
        let name = client.get::<String>("/users/{id}", &[&1]).await;
        name.expect("answered").expect("found")
    };
    let under_way = tokio::spawn(name(client.clone()));
    begun.notified().await;

    let staying = Instance::new(SERVICE, serve(named("staying")).await);
    registry.register(staying).await.expect("registered");
    registry.deregister(&leaving.id).await.expect("gone");

    for _ in 0..10 {
        assert_eq!(name(client.clone()).await, "staying");
    }
    go.notify_one();
    assert_eq!(under_way.await.expect("ended"), "leaving");
}

#[tokio::test]
async fn one_that_moved_is_called_where_it_is_now() {
    let registry = InProcess::new(Ttl::default());
    let client = Clients::new(Arc::new(registry.clone()), None).client(SERVICE);
    let mut instance = Instance::new(SERVICE, serve(named("here")).await);
    for name in ["here", "there"] {
        registry
            .register(instance.clone())
            .await
            .expect("registered");
        let called = client.get::<String>("/users/{id}", &[&1]).await;
        assert_eq!(called.expect("answered").as_deref(), Some(name));
        instance.address = serve(named("there")).await;
    }
}

#[tokio::test]
async fn g7_one_that_fails_stays_out_when_others_come() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let broken = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { StatusCode::INTERNAL_SERVER_ERROR }
    };
    let broken = serve(Router::new().route("/users/{id}", get(broken))).await;
    let registry = InProcess::new(Ttl::default());
    let client = Clients::new(Arc::new(registry.clone()), None).client(SERVICE);
    for instance in instances(&[broken]) {
        registry.register(instance).await.expect("registered");
    }
    until(|| async { matches!(user(&client).await, Err(Error::CircuitOpen { .. })) }).await;
    let before = asked.load(Ordering::Relaxed);

    let address = serve(echo()).await;
    for instance in instances(&[address]) {
        registry.register(instance).await.expect("registered");
    }
    for _ in 0..10 {
        assert!(user(&client).await.expect("the new one").is_some());
    }
    assert_eq!(asked.load(Ordering::Relaxed), before);
}
