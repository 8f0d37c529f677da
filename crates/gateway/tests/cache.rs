//! The cache as a layer, over a service that counts.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum_core::{body::Body, response::Response};
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use outrigger_gateway::{
    Config,
    cache::{CACHE_STATUS, CacheLayer, Store},
    layers::Refusal,
};
use tower::{Layer, Service, ServiceExt};

type Answer = Arc<dyn Fn(&Request<Body>, u64) -> Response + Send + Sync>;

/// Answers with what `answer` makes of the request and of how many came before it.
#[derive(Clone)]
struct Origin {
    asked: Arc<AtomicU64>,
    answer: Answer,
}

impl Service<Request<Body>> for Origin {
    type Response = Response;
    type Error = Refusal;
    type Future = BoxFuture<'static, Result<Response, Refusal>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Refusal>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let before = self.asked.fetch_add(1, Ordering::SeqCst);
        let response = (self.answer)(&request, before);
        Box::pin(async move { Ok(response) })
    }
}

struct Cached {
    origin: Origin,
    store: Store,
    layer: CacheLayer,
}

/// What a client sees of an answer.
#[derive(Debug, PartialEq)]
struct Seen {
    body: String,
    status: String,
    age: Option<String>,
}

impl Cached {
    fn new(answer: impl Fn(&Request<Body>, u64) -> Response + Send + Sync + 'static) -> Self {
        Self::sized("", answer)
    }

    fn sized(
        config: &str,
        answer: impl Fn(&Request<Body>, u64) -> Response + Send + Sync + 'static,
    ) -> Self {
        let config: Config = config.parse().expect("valid");
        let store = Store::new(&config.cache);
        Self {
            origin: Origin {
                asked: Arc::default(),
                answer: Arc::new(answer),
            },
            layer: CacheLayer::new(store.clone(), Some(Duration::from_secs(60))),
            store,
        }
    }

    fn asked(&self) -> u64 {
        self.origin.asked.load(Ordering::SeqCst)
    }

    async fn send(&self, request: http::request::Builder) -> Response {
        let request = request.body(Body::empty()).expect("a request");
        let service = self.layer.layer(self.origin.clone());
        service.oneshot(request).await.expect("an answer")
    }

    async fn see(&self, request: http::request::Builder) -> Seen {
        let response = self.send(request).await;
        let text = |name| {
            let value = response.headers().get(name)?;
            Some(value.to_str().expect("text").to_owned())
        };
        let (status, age) = (
            text(CACHE_STATUS).unwrap_or_default(),
            text(http::header::AGE),
        );
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("text");
        Seen { body, status, age }
    }
}

fn get(path: &str) -> http::request::Builder {
    Request::get(path)
}

fn text(body: impl Into<String>) -> Response {
    Response::new(Body::from(body.into()))
}

/// Each answer says which one it is.
fn numbered(_: &Request<Body>, before: u64) -> Response {
    text(before.to_string())
}

fn with(mut response: Response, name: &'static str, value: &str) -> Response {
    response
        .headers_mut()
        .append(name, value.parse().expect("a value"));
    response
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_given_again_until_its_time_is_over() {
    let cached = Cached::new(numbered);
    let miss = cached.see(get("/a")).await;
    assert_eq!(
        (&*miss.body, &*miss.status),
        ("0", "outrigger; fwd=uri-miss; stored")
    );
    assert_eq!(miss.age, None);

    tokio::time::advance(Duration::from_millis(20_500)).await;
    let hit = cached.see(get("/a")).await;
    assert_eq!((&*hit.body, &*hit.status), ("0", "outrigger; hit; ttl=39"));
    assert_eq!(hit.age.as_deref(), Some("20"));

    tokio::time::advance(Duration::from_millis(39_500)).await;
    let stale = cached.see(get("/a")).await;
    assert_eq!(
        (&*stale.body, &*stale.status),
        ("1", "outrigger; fwd=stale; stored")
    );
    assert_eq!(cached.see(get("/a")).await.body, "1");
    assert_eq!(cached.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn requests_are_alike_by_host_path_and_query() {
    let cached = Cached::new(numbered);
    let asks = || {
        [
            get("/a"),
            get("/b"),
            get("/a?x=1"),
            get("/a?x=2"),
            get("/a").header("host", "one.example"),
            get("/a").header("host", "two.example"),
        ]
    };
    for (number, ask) in asks().into_iter().enumerate() {
        assert_eq!(cached.see(ask).await.body, number.to_string());
    }
    for (number, ask) in asks().into_iter().enumerate() {
        assert_eq!(cached.see(ask).await.body, number.to_string());
    }
    let shouted = get("/a").header("host", "ONE.example");
    assert_eq!(cached.see(shouted).await.body, "4");
    assert_eq!(cached.asked(), 6);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_varies_is_given_to_requests_with_the_same_headers() {
    let cached = Cached::new(|request, before| {
        let language = request.headers().get("accept-language");
        let language = language.map_or("none", |value| value.to_str().expect("text"));
        with(
            text(format!("{language} {before}")),
            "vary",
            "Accept-Language",
        )
    });
    let ask = |language| get("/a").header("accept-language", language);
    assert_eq!(
        cached.see(ask("de")).await.status,
        "outrigger; fwd=uri-miss; stored"
    );
    assert_eq!(
        cached.see(ask("fr")).await.status,
        "outrigger; fwd=vary-miss; stored"
    );
    assert_eq!(cached.see(get("/a")).await.body, "none 2");
    for _ in 0..2 {
        assert_eq!(cached.see(ask("de")).await.body, "de 0");
        assert_eq!(cached.see(ask("fr")).await.body, "fr 1");
        assert_eq!(cached.see(get("/a")).await.body, "none 2");
    }
    let both = ask("de").header("accept-language", "fr");
    assert_eq!(cached.see(both).await.body, "de 3");
}

#[tokio::test(start_paused = true)]
async fn what_is_personal_is_neither_stored_nor_answered_from_the_cache() {
    let cached = Cached::new(numbered);
    for header in ["authorization", "cookie"] {
        for _ in 0..2 {
            let seen = cached.see(get("/a").header(header, "x")).await;
            assert_eq!(seen.status, "outrigger; fwd=bypass; detail=personal");
        }
    }
    assert_eq!(
        cached.see(get("/a")).await.body,
        "4",
        "nothing of the above was stored"
    );
    let seen = cached.see(get("/a").header("authorization", "x")).await;
    assert_eq!(
        seen.body, "5",
        "what is stored is not for those who say who they are"
    );
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_stored_is_not() {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("cache-control", "private"),
        ("set-cookie", "a=b"),
        ("vary", "*"),
    ] {
        let cached = Cached::new(move |_, before| with(text(before.to_string()), name, value));
        assert_eq!(
            cached.see(get("/a")).await.status,
            "outrigger; fwd=uri-miss"
        );
        assert_eq!(cached.see(get("/a")).await.body, "1", "{name}: {value}");
    }
    let failing = Cached::new(|_, before| {
        let mut response = text(before.to_string());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    });
    failing.see(get("/a")).await;
    assert_eq!(failing.see(get("/a")).await.body, "1");
}

#[tokio::test(start_paused = true)]
async fn a_client_may_ask_for_a_fresh_answer() {
    let cached = Cached::new(numbered);
    cached.see(get("/a")).await;
    let fresh = cached
        .see(get("/a").header("cache-control", "no-cache"))
        .await;
    assert_eq!(
        (&*fresh.body, &*fresh.status),
        ("1", "outrigger; fwd=request; stored")
    );
    assert_eq!(
        cached.see(get("/a")).await.body,
        "1",
        "others get the fresh one too"
    );

    let unstored = cached
        .see(get("/a").header("cache-control", "no-store"))
        .await;
    assert_eq!(
        (&*unstored.body, &*unstored.status),
        ("2", "outrigger; fwd=request")
    );
    assert_eq!(cached.see(get("/a")).await.body, "1");

    tokio::time::advance(Duration::from_secs(10)).await;
    let young = || get("/a").header("cache-control", "max-age=5");
    assert_eq!(cached.see(young()).await.body, "3");
    assert_eq!(cached.see(young()).await.body, "3");
}

#[tokio::test(start_paused = true)]
async fn only_get_is_answered_and_a_write_drops_what_is_stored() {
    let cached = Cached::new(numbered);
    cached.see(get("/a")).await;
    assert_eq!(
        cached.see(Request::head("/a")).await.status,
        "outrigger; fwd=method"
    );
    assert_eq!(
        cached.see(get("/a")).await.body,
        "0",
        "a read drops nothing"
    );
    assert_eq!(
        cached.see(Request::post("/a")).await.status,
        "outrigger; fwd=method"
    );
    assert_eq!(cached.see(get("/a")).await.body, "3");

    let uncached = CacheLayer::new(cached.store.clone(), None).layer(cached.origin.clone());
    let write = Request::delete("/a")
        .body(Body::empty())
        .expect("a request");
    let answer = uncached.oneshot(write).await.expect("an answer");
    assert!(!answer.headers().contains_key(CACHE_STATUS));
    assert_eq!(cached.see(get("/a")).await.body, "5");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_failed_drops_nothing() {
    let cached = Cached::new(|request, before| {
        let mut response = text(before.to_string());
        if request.method() == http::Method::POST {
            *response.status_mut() = StatusCode::CONFLICT;
        }
        response
    });
    cached.see(get("/a")).await;
    cached.see(Request::post("/a")).await;
    assert_eq!(cached.see(get("/a")).await.body, "0");
}

fn chunks(chunks: Vec<Result<&'static str, std::io::Error>>) -> Response {
    let frames = stream::iter(chunks)
        .map(|chunk| chunk.map(|data| http_body::Frame::data(Bytes::from_static(data.as_bytes()))));
    Response::new(Body::new(StreamBody::new(frames)))
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_stored_when_all_of_it_was_there() {
    let whole = Cached::new(|_, _| chunks(vec![Ok("one "), Ok("two")]));
    assert_eq!(whole.see(get("/a")).await.body, "one two");
    let again = whole.see(get("/a")).await;
    assert_eq!((&*again.body, whole.asked()), ("one two", 1));

    let broken = Cached::new(|_, _| chunks(vec![Ok("one "), Err(std::io::Error::other("gone"))]));
    for _ in 0..2 {
        let body = broken.send(get("/a")).await.into_body();
        assert!(body.collect().await.is_err());
    }
    assert_eq!(broken.asked(), 2, "half an answer is none");

    // Whoever reads on after the break sees an end, which is not that of the answer.
    let mut body = broken.send(get("/a")).await.into_body();
    while body.frame().await.is_some() {}
    broken.send(get("/a")).await;
    assert_eq!(broken.asked(), 4);

    let left = Cached::new(|_, _| chunks(vec![Ok("one "), Ok("two")]));
    let mut body = left.send(get("/a")).await.into_body();
    body.frame().await.expect("a frame").expect("the first");
    drop(body);
    left.see(get("/a")).await;
    assert_eq!(
        left.asked(),
        2,
        "an answer that its client did not read is not known whole"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_streams_while_it_is_being_stored() {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let cached = Cached::new(move |_, _| {
        let receiver = receiver
            .lock()
            .expect("unpoisoned")
            .take()
            .expect("asked once");
        let frames = stream::unfold(receiver, |mut receiver| async move {
            let data = receiver.recv().await?;
            let frame = http_body::Frame::data(Bytes::from_static(data.as_bytes()));
            Some((Ok::<_, Infallible>(frame), receiver))
        });
        Response::new(Body::new(StreamBody::new(frames)))
    });
    let mut body = cached.send(get("/a")).await.into_body();
    for part in ["one", "two"] {
        sender.send(part).expect("read");
        let frame = body.frame().await.expect("a frame").expect("data");
        assert_eq!(frame.into_data().expect("data"), part);
    }
    drop(sender);
    assert!(body.frame().await.is_none());
    assert_eq!(cached.see(get("/a")).await.body, "onetwo");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_long_passes_unstored() {
    let config = "[cache]\nentry = \"10B\"";
    let known = Cached::sized(config, |_, _| text("eleven byte"));
    assert_eq!(known.see(get("/a")).await.status, "outrigger; fwd=uri-miss");
    let unknown = Cached::sized(config, |_, _| {
        chunks(vec![Ok("0123456789"), Ok("x"), Ok("y")])
    });
    assert_eq!(unknown.see(get("/a")).await.body, "0123456789xy");
    let fits = Cached::sized(config, |_, _| chunks(vec![Ok("01234"), Ok("56789")]));
    for cached in [&known, &unknown, &fits] {
        cached.see(get("/a")).await;
        cached.see(get("/a")).await;
    }
    assert_eq!((known.asked(), unknown.asked(), fits.asked()), (3, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn g9_overload_the_cache_stays_within_its_bytes() {
    let config = "[cache]\nsize = \"64KiB\"\nentry = \"8KiB\"";
    let cached = Cached::sized(config, |_, _| text("x".repeat(4000)));
    for number in 0..40 {
        cached.see(get(&format!("/a?{number}"))).await;
        assert!(cached.store.size() <= 64 << 10, "{}", cached.store.size());
    }
    // By what it still answers, for it may be wrong about its own size. A read that misses would store again.
    let mut hits = 0;
    for number in 0..40 {
        let peek = get(&format!("/a?{number}"));
        let before = cached.asked();
        drop(cached.send(peek).await);
        hits += usize::from(cached.asked() == before);
    }
    assert!(
        (1..=16).contains(&hits),
        "{hits} answers of 4000 bytes in 64 KiB"
    );
}

#[tokio::test(start_paused = true)]
async fn g9_overload_of_one_path_eight_variants_are_kept() {
    let cached = Cached::new(|_, _| with(text("x"), "vary", "x-any"));
    for number in 0..20 {
        cached
            .see(get("/a").header("x-any", number.to_string()))
            .await;
    }
    for number in 0..20 {
        let before = cached.asked();
        drop(
            cached
                .send(get("/a").header("x-any", number.to_string()))
                .await,
        );
        assert_eq!(cached.asked() == before, number >= 12, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_variants_are_all_kept() {
    let cached = Cached::new(|_, _| with(text("x"), "vary", "x-any"));
    let asks = (0..8).map(|number| cached.see(get("/a").header("x-any", number.to_string())));
    let seen: VecDeque<_> = futures::future::join_all(asks).await.into();
    assert_eq!(seen.len(), 8);
    for number in 0..8 {
        let again = cached
            .see(get("/a").header("x-any", number.to_string()))
            .await;
        assert!(again.status.contains("hit"), "{number}: {again:?}");
    }
}
