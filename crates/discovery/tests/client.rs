//! JSON calls over real sockets: what is sent, and how answers are read.

mod server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::{get, patch},
};
use env::{Problem, RequestContext};
use identity::{Issuer, Keyring, Verifier};
use outrigger_discovery::{Clients, Error, Instance, StaticList, client::ANSWER_LIMIT};
use serde_json::{Value, json};

use crate::server::{SERVICE, client, echo, serve, user};

#[tokio::test]
async fn an_answer_is_read_and_404_is_none() {
    let client = client(&[serve(echo()).await]);
    let found = user(&client).await.expect("answered");
    assert_eq!(found, Some(json!({ "id": "ada" })));
    let nowhere = client.get::<Value>("/nowhere", &[]).await;
    assert_eq!(nowhere.expect("answered"), None);
}

#[tokio::test]
async fn an_argument_cannot_lead_elsewhere() {
    let client = client(&[serve(echo()).await]);
    for id in ["../admin", "a/b", "a?b=c", "a#b", "ü", "..", "%2e"] {
        let read = client.get::<Value>("/users/{id}", &[&id]).await;
        assert_eq!(read.expect("answered"), Some(json!({ "id": id })));
    }
}

#[tokio::test]
async fn a_call_that_lacks_an_argument_is_not_made() {
    let client = client(&[serve(echo()).await]);
    let error = client.get::<Value>("/users/{id}", &[]).await;
    let error = error.expect_err("no argument");
    assert!(matches!(error, Error::InvalidRequest { .. }));
    assert_eq!(Problem::from(error).status, 500);
}

#[tokio::test]
async fn each_method_carries_its_body() {
    let same = |Json(body): Json<Value>| async move { Json(body) };
    let nothing = || async { StatusCode::NO_CONTENT };
    let routes = Router::new().route("/same", patch(same).put(same).post(same).delete(nothing));
    let client = client(&[serve(routes).await]);
    let body = json!({ "name": "Ada" });
    let answers: [Result<Value, Error>; 3] = [
        client.post("/same", &[], &body).await,
        client.put("/same", &[], &body).await,
        client.patch("/same", &[], &body).await,
    ];
    for answer in answers {
        assert_eq!(answer.expect("answered"), body);
    }
    let deleted: () = client.delete("/same", &[]).await.expect("deleted");
    assert_eq!(deleted, ());
}

#[tokio::test]
async fn correlation_deadline_and_token_go_with_the_call() {
    let headers = |headers: HeaderMap| async move {
        let text = |name| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        Json(json!([
            text("x-correlation-id"),
            text("x-request-deadline"),
            text("authorization")
        ]))
    };
    let address = serve(Router::new().route("/headers", get(headers))).await;
    let keyring = Keyring::generate();
    let grants = [(SERVICE.to_owned(), vec![identity::CALL.to_owned()])].into();
    let issuer = Issuer::new(keyring.clone(), "order-service", grants);
    let registry = Arc::new(StaticList::new([Instance::new(SERVICE, address)]));
    let client = Clients::new(registry, Some(issuer)).client(SERVICE);

    let context = RequestContext::correlated("c-1").within(Duration::from_secs(2));
    let sent = context.scope(client.get::<Value>("/headers", &[])).await;
    let sent = sent.expect("answered").expect("found");

    assert_eq!(sent[0], "c-1");
    let left = sent[1].as_str().and_then(|left| left.parse::<u64>().ok());
    assert!((1..=2_000).contains(&left.expect("milliseconds")));
    let token = sent[2]
        .as_str()
        .and_then(|value| value.strip_prefix("Bearer "))
        .expect("a token");
    let caller = Verifier::new(&keyring, SERVICE)
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
async fn an_answer_is_read_up_to_its_limit() {
    let long = |length: usize| move || async move { Json("x".repeat(length - 2)) };
    let routes = Router::new()
        .route("/fits", get(long(ANSWER_LIMIT)))
        .route("/too-long", get(long(ANSWER_LIMIT + 1)));
    let client = client(&[serve(routes).await]);
    assert!(client.get::<String>("/fits", &[]).await.is_ok());
    let error = client.get::<String>("/too-long", &[]).await;
    assert!(matches!(error, Err(Error::Undecodable { .. })));
}

#[tokio::test]
async fn what_takes_longer_than_the_deadline_is_given_up() {
    let never = || async { std::future::pending::<()>().await };
    // The head of an answer, and then nothing.
    let stalls = || async {
        Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>())
    };
    let routes = Router::new()
        .route("/never", get(never))
        .route("/stalls", get(stalls));
    let client = client(&[serve(routes).await]);
    for path in ["/never", "/stalls"] {
        let context = RequestContext::new().within(Duration::from_millis(50));
        let call = env::timeout(
            Duration::from_secs(10),
            context.scope(client.get::<Value>(path, &[])),
        );
        let error = call.await.expect("given up").expect_err("too late");
        assert!(matches!(error, Error::DeadlineExceeded { .. }), "{path}");
        assert_eq!(Problem::from(error).status, 504);
    }
}

#[tokio::test]
async fn what_is_late_already_is_not_sent() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Json(1) }
    };
    let client = client(&[serve(Router::new().route("/users/{id}", get(count))).await]);
    let context = RequestContext::new().within(Duration::ZERO);
    let error = context.scope(user(&client)).await.expect_err("too late");
    assert!(matches!(error, Error::DeadlineExceeded { .. }));
    // An answer to a later call shows that an earlier one would have been counted.
    user(&client).await.expect("answered");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}
