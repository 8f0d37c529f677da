//! What may be sent twice is, with its whole body: what its method or its `Idempotency-Key` says may be.

mod server;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Method, Request, StatusCode},
    routing::any,
};
use env::request::IDEMPOTENCY_KEY;
use futures::stream;
use http_body_util::BodyExt;
use outrigger_discovery::Upstream;

use crate::server::{SERVICE, clients, serve};

/// The bodies that came.
type Came = Arc<Mutex<Vec<Bytes>>>;

/// Refuses the first request, once it has read it whole, and takes the others.
async fn refuses_once() -> (Upstream, Came) {
    let came = Came::default();
    let (first, kept) = (Arc::new(AtomicBool::new(true)), Arc::clone(&came));
    let answer = move |body: Bytes| {
        kept.lock().expect("unpoisoned").push(body);
        let refused = first.swap(false, Ordering::Relaxed);
        async move {
            match refused {
                true => StatusCode::SERVICE_UNAVAILABLE,
                false => StatusCode::OK,
            }
        }
    };
    let address = serve(Router::new().route("/orders", any(answer))).await;
    (clients(&[address]).upstream(SERVICE), came)
}

async fn send(upstream: &Upstream, method: Method, key: bool, body: Body) -> StatusCode {
    let mut request = Request::builder().method(method).uri("/orders");
    if key {
        request = request.header(IDEMPOTENCY_KEY, "8e03978e");
    }
    let request = request.body(body).expect("a request");
    upstream.send(request).await.expect("answered").status()
}

#[tokio::test]
async fn a_post_with_an_idempotency_key_is_made_again_with_its_body() {
    let (upstream, came) = refuses_once().await;
    let parts = ["two ", "lamps"].map(|part| Ok::<_, std::io::Error>(Bytes::from(part)));
    let body = Body::from_stream(stream::iter(parts));
    assert_eq!(send(&upstream, Method::POST, true, body).await, 200);
    assert_eq!(
        *came.lock().expect("unpoisoned"),
        ["two lamps", "two lamps"]
    );
}

#[tokio::test]
async fn a_put_is_made_again_with_its_body() {
    let (upstream, came) = refuses_once().await;
    assert_eq!(
        send(&upstream, Method::PUT, false, Body::from("lamp")).await,
        200
    );
    assert_eq!(*came.lock().expect("unpoisoned"), ["lamp", "lamp"]);
}

#[tokio::test]
async fn a_post_without_a_key_is_made_once() {
    let (upstream, came) = refuses_once().await;
    assert_eq!(
        send(&upstream, Method::POST, false, Body::from("lamp")).await,
        503
    );
    assert_eq!(came.lock().expect("unpoisoned").len(), 1);
}

#[tokio::test]
async fn a_body_that_is_too_long_to_be_kept_is_sent_once() {
    let (upstream, came) = refuses_once().await;
    let long = Body::from(vec![b'x'; 64 * 1024 + 1]);
    assert_eq!(send(&upstream, Method::PUT, false, long).await, 503);
    assert_eq!(came.lock().expect("unpoisoned").len(), 1);

    let (upstream, came) = refuses_once().await;
    let longest = Body::from(vec![b'x'; 64 * 1024]);
    assert_eq!(send(&upstream, Method::PUT, false, longest).await, 200);
    assert_eq!(came.lock().expect("unpoisoned").len(), 2);
}

#[tokio::test]
async fn an_answer_comes_whole_whose_request_was_made_again() {
    let first = Arc::new(AtomicBool::new(true));
    let same = move |body: Bytes| {
        let refused = first.swap(false, Ordering::Relaxed);
        async move {
            match refused {
                true => Err(StatusCode::SERVICE_UNAVAILABLE),
                false => Ok(body),
            }
        }
    };
    let address = serve(Router::new().route("/orders", any(same))).await;
    let upstream = clients(&[address]).upstream(SERVICE);
    let request = Request::put("/orders").body(Body::from("lamp"));
    let answer = upstream.send(request.expect("a request")).await;
    let body = answer.expect("answered").into_body().collect().await;
    assert_eq!(body.expect("read").to_bytes(), "lamp");
}

#[tokio::test]
async fn g9_who_has_too_much_to_do_is_not_asked_again() {
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let refuse = move || {
        *count.lock().expect("unpoisoned") += 1;
        async {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                [("x-outrigger-overloaded", "true"), ("retry-after", "1")],
            )
        }
    };
    let address = serve(Router::new().route("/orders", any(refuse))).await;
    let upstream = clients(&[address]).upstream(SERVICE);
    assert_eq!(
        send(&upstream, Method::GET, false, Body::empty()).await,
        503
    );
    assert_eq!(*asked.lock().expect("unpoisoned"), 1);
}
