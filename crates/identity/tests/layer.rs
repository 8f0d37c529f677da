//! G10 at the door: what a request without a good token is answered.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod forge;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum_core::body::Body;
use env::Problem;
use forge::{close, header, open, order_service, sign_as};
use futures::StreamExt;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use outrigger_identity::{CALL, Caller, Keyring, RequireToken, Verifier};
use tower::{Layer, ServiceExt, service_fn};

/// Sends a request with these authorizations to user-service; also says how often the service ran.
async fn ask(
    keyring: &Keyring,
    permission: &str,
    authorizations: &[String],
) -> (Response<Body>, usize) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let service = service_fn(move |request: Request<()>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let caller = request.extensions().get::<Caller>().cloned().unwrap();
        async { Ok::<_, Infallible>(Response::new(Body::from(caller.service))) }
    });
    let door = RequireToken::new(Verifier::new(keyring, "user-service"), permission);
    let mut request = Request::get("/users/7");
    for value in authorizations {
        request = request.header(AUTHORIZATION, value);
    }
    let request = request.body(()).unwrap();
    let response = door.layer(service).oneshot(request).await.unwrap();
    (response, runs.load(Ordering::SeqCst))
}

async fn body(response: Response<Body>) -> Vec<u8> {
    let chunks = response.into_body().into_data_stream();
    chunks.map(|chunk| chunk.unwrap().to_vec()).concat().await
}

async fn assert_refused(keyring: &Keyring, authorizations: &[String], challenge: &str) {
    let unauthenticated = (StatusCode::UNAUTHORIZED, "unauthenticated");
    assert_refused_as(keyring, authorizations, challenge, unauthenticated).await;
}

async fn assert_refused_as(
    keyring: &Keyring,
    authorizations: &[String],
    challenge: &str,
    (status, kind): (StatusCode, &str),
) {
    let (response, runs) = ask(keyring, CALL, authorizations).await;
    assert_eq!(response.status(), status, "{authorizations:?}");
    assert_eq!(runs, 0, "nothing behind the door ran");
    let told = response.headers()["www-authenticate"].to_str().unwrap();
    assert!(told.starts_with(r#"Bearer realm="user-service""#), "{told}");
    assert!(told.contains(challenge), "{told}");
    let problem: Problem = serde_json::from_slice(&body(response).await).unwrap();
    assert_eq!(problem.kind(), kind);
    assert_eq!(problem.instance.as_deref(), Some("/users/7"));
    assert!(problem.correlation_id.is_some());
}

#[tokio::test]
async fn g10_closed_without_a_token() {
    let keyring = Keyring::generate();
    assert_refused(&keyring, &[], "").await;
}

#[tokio::test]
async fn g10_closed_to_garbage() {
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();
    for garbage in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer abc",
        "Bearer a.b.c",
        "Bearer ...",
        "Basic b3JkZXI6c2VydmljZQ==",
        &format!("Basic {token}"),
        &format!("Bearer {token}x"),
        &format!("Bearer {token} {token}"),
        &format!("Bearer {}", "a".repeat(20_000)),
    ] {
        assert_refused(&keyring, &[garbage.to_owned()], r#"error="invalid_token""#).await;
    }
    let twice = [format!("Bearer {token}"), format!("Bearer {token}")];
    assert_refused(&keyring, &twice, r#"error="invalid_token""#).await;
}

#[tokio::test]
async fn g10_closed_to_a_token_of_another_ring_or_audience() {
    let keyring = Keyring::generate();
    let foreign = order_service(&Keyring::generate())
        .token("user-service")
        .unwrap();
    assert_refused(&keyring, &[format!("Bearer {foreign}")], "not trusted").await;

    let token = order_service(&keyring).token("user-service").unwrap();
    let (_, mut claims) = open(&token);
    claims["aud"] = "payment-service".into();
    let elsewhere = close(&header(&keyring, "EdDSA"), &claims, sign_as(&keyring));
    let misdirected = (StatusCode::MISDIRECTED_REQUEST, "misdirected");
    let elsewhere = [format!("Bearer {elsewhere}")];
    assert_refused_as(&keyring, &elsewhere, "audience", misdirected).await;
}

#[tokio::test]
async fn g10_closed_to_a_caller_that_lacks_the_permission() {
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();

    let (response, runs) = ask(&keyring, "delete-users", &[format!("Bearer {token}")]).await;

    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(runs, 0, "nothing behind the door ran");
    let told = response.headers()["www-authenticate"].to_str().unwrap();
    assert!(told.contains(r#"error="insufficient_scope", scope="delete-users""#));
    let problem: Problem = serde_json::from_slice(&body(response).await).unwrap();
    assert_eq!(problem.kind(), "forbidden");
}

#[tokio::test]
async fn a_caller_with_the_permission_is_let_through_and_named() {
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let (response, runs) = ask(&keyring, CALL, &[format!("{scheme} {token}")]).await;
        assert_eq!((response.status(), runs), (StatusCode::OK, 1));
        assert_eq!(body(response).await, b"order-service");
    }
}
