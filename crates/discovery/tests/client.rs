//! Calls over real sockets, to services that answer well, badly or not at all.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::Path,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::get,
};
use env::{Problem, RequestContext};
use identity::{Issuer, Keyring, Verifier};
use outrigger_discovery::{Client, Clients, Error, Instance, StaticList};
use serde_json::{Value, json};

/// Serves `routes` on a free port.
async fn serve(routes: Router) -> SocketAddr {
    let mut listener = env::net::listen(([127, 0, 0, 1], 0).into())
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper_util::service::TowerToHyperService::new(routes.clone());
            let http =
                hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
            tokio::spawn(async move {
                let stream = hyper_util::rt::TokioIo::new(stream);
                let _ = http.serve_connection(stream, service).await;
            });
        }
    });
    address
}

/// A port on which nobody listens.
async fn nobody() -> SocketAddr {
    let listener = env::net::listen(([127, 0, 0, 1], 0).into())
        .await
        .expect("a port");
    listener.local_addr().expect("bound")
}

fn clients(addresses: &[SocketAddr]) -> Clients {
    let instances = addresses
        .iter()
        .map(|address| Instance::new("user-service", *address));
    Clients::new(Arc::new(StaticList::new(instances)), None)
}

fn client(addresses: &[SocketAddr]) -> Client {
    clients(addresses).client("user-service")
}

async fn user(client: &Client) -> Result<Option<Value>, Error> {
    client.get::<Value>("/users/{id}", &[&"ada"]).await
}

fn echo() -> Router {
    let id = |Path(id): Path<String>| async move { Json(json!({ "id": id })) };
    Router::new().route("/users/{id}", get(id))
}

#[tokio::test]
async fn an_answer_is_read_and_404_is_none() {
    let client = client(&[serve(echo()).await]);
    assert_eq!(
        user(&client).await.expect("answered"),
        Some(json!({ "id": "ada" }))
    );
    assert_eq!(
        client
            .get::<Value>("/nowhere", &[])
            .await
            .expect("answered"),
        None
    );
}

#[tokio::test]
async fn an_argument_cannot_lead_elsewhere() {
    let client = client(&[serve(echo()).await]);
    for id in ["../admin", "a/b", "a?b=c", "a#b", "ü", "..", "%2e"] {
        let read = client
            .get::<Value>("/users/{id}", &[&id])
            .await
            .expect("answered");
        assert_eq!(read, Some(json!({ "id": id })));
    }
}

#[tokio::test]
async fn correlation_deadline_and_token_go_with_the_call() {
    let headers = |headers: HeaderMap| async move {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        Json(json!([
            text("x-correlation-id"),
            text("x-request-deadline"),
            text("authorization")
        ]))
    };
    let address = serve(Router::new().route("/headers", get(headers))).await;
    let keyring = Keyring::generate();
    let grants = [("user-service".to_owned(), vec![identity::CALL.to_owned()])].into();
    let issuer = Issuer::new(keyring.clone(), "order-service", grants);
    let registry = Arc::new(StaticList::new([Instance::new("user-service", address)]));
    let client = Clients::new(registry, Some(issuer)).client("user-service");

    let context = RequestContext::correlated("c-1").within(Duration::from_secs(2));
    let sent = context
        .scope(client.get::<Value>("/headers", &[]))
        .await
        .expect("answered")
        .expect("found");

    assert_eq!(sent[0], "c-1");
    let left: u64 = sent[1]
        .as_str()
        .and_then(|left| left.parse().ok())
        .expect("milliseconds");
    assert!(left > 0 && left <= 2_000);
    let token = sent[2]
        .as_str()
        .and_then(|value| value.strip_prefix("Bearer "))
        .expect("a token");
    let caller = Verifier::new(&keyring, "user-service")
        .verify(token)
        .expect("valid");
    assert_eq!(caller.service, "order-service");
}

#[tokio::test]
async fn a_problem_of_the_service_comes_back_as_it_was() {
    let refuse =
        || async { Problem::new(StatusCode::CONFLICT, "taken", "Ada is taken.").into_response() };
    let client = client(&[serve(Router::new().route("/users/{id}", get(refuse))).await]);
    let Err(Error::Problem { problem, .. }) = user(&client).await else {
        panic!("a problem")
    };
    assert_eq!(
        (problem.status, problem.kind(), problem.detail.as_str()),
        (409, "taken", "Ada is taken.")
    );
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
        assert!(
            user(&client)
                .await
                .expect("answered by the one that is there")
                .is_some()
        );
    }
}

#[tokio::test]
async fn what_takes_longer_than_the_deadline_is_given_up() {
    let never = || async { std::future::pending::<()>().await };
    let client = client(&[serve(Router::new().route("/users/{id}", get(never))).await]);
    let context = RequestContext::new().within(Duration::from_millis(50));
    let error = context.scope(user(&client)).await.expect_err("too late");
    assert!(matches!(error, Error::DeadlineExceeded { .. }));
    assert_eq!(Problem::from(error).status, 504);
}

#[tokio::test]
async fn g7_an_instance_that_fails_requests_is_left_alone() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let broken = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { StatusCode::INTERNAL_SERVER_ERROR }
    };
    let client = client(&[serve(Router::new().route("/users/{id}", get(broken))).await]);
    for _ in 0..20 {
        assert!(user(&client).await.is_err());
    }
    assert_eq!(
        asked.load(Ordering::Relaxed),
        5,
        "the breaker opens after five failures in a row"
    );
    let error = user(&client).await.expect_err("refused");
    assert!(matches!(error, Error::CircuitOpen { .. }));
}

#[tokio::test]
async fn g7_an_instance_that_hangs_is_left_alone() {
    let never = || async { std::future::pending::<()>().await };
    let client = client(&[serve(Router::new().route("/users/{id}", get(never))).await]);
    for _ in 0..5 {
        let context = RequestContext::new().within(Duration::from_millis(20));
        let error = context.scope(user(&client)).await.expect_err("too late");
        assert!(matches!(error, Error::DeadlineExceeded { .. }));
    }
    let error = user(&client).await.expect_err("refused");
    assert!(matches!(error, Error::CircuitOpen { .. }));
}
