//! Past what a service answers in good time the gateway refuses by itself (G9), and services are told what matters.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum_core::body::Body;
use env::{RequestContext, request::Priority};
use http::{Request, Response, StatusCode};
use outrigger_gateway::{Gateway, layers::Boxed};
use telemetry::Metrics;
use tokio::sync::Semaphore;
use tower::{ServiceExt, service_fn};

const CONFIG: &str = r#"
    [admission]
    initial = 10
    least = 10
    most = 10

    [[route]]
    path = "/work"
    methods = ["GET"]
    service = "work-service"

    [[route]]
    path = "/pay"
    methods = ["GET"]
    service = "work-service"
    priority = "critical"
"#;

async fn get(gateway: &Gateway, path: &str) -> Response<Body> {
    let request = Request::get(path).header("x-outrigger-priority", "low");
    let request = request.body(Body::empty()).expect("a request");
    let Ok(answer) = gateway.clone().oneshot(request).await;
    answer
}

#[tokio::test]
async fn g9_what_is_too_much_is_refused_at_the_edge() {
    let (working, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (begun, wait) = (working.clone(), go.clone());
    let service = service_fn(move |_: Request<Body>| {
        let (begun, wait) = (begun.clone(), wait.clone());
        async move {
            begun.fetch_add(1, Ordering::Relaxed);
            let _ = wait.acquire().await;
            Ok(Response::new(Body::empty()))
        }
    });
    let config = CONFIG.parse().expect("well-formed");
    let metrics = Metrics::new("gateway");
    let gateway = Gateway::over(config, metrics, |_| Boxed::new(service.clone())).expect("routes");
    let mut under_way = Vec::new();
    for _ in 0..9 {
        let gateway = gateway.clone();
        under_way.push(tokio::spawn(async move {
            get(&gateway, "/work").await.status()
        }));
    }
    let waited = env::timeout(Duration::from_secs(10), async {
        while working.load(Ordering::Relaxed) < 9 {
            env::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.expect("they are under way");
    let refused = get(&gateway, "/work").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(working.load(Ordering::Relaxed), 9, "it went no further");
    go.close();
    for one in under_way {
        assert_eq!(one.await.expect("it ends"), StatusCode::OK);
    }
    assert_eq!(get(&gateway, "/work").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn how_much_a_request_matters_is_said_by_its_route_and_not_by_the_client() {
    let service = service_fn(|_: Request<Body>| async {
        let priority = RequestContext::current().priority.name();
        Ok(Response::new(Body::from(priority)))
    });
    let config = CONFIG.parse().expect("well-formed");
    let metrics = Metrics::new("gateway");
    let gateway = Gateway::over(config, metrics, |_| Boxed::new(service)).expect("routes");
    for (path, priority) in [("/work", Priority::Normal), ("/pay", Priority::Critical)] {
        let answer = get(&gateway, path).await;
        let body = http_body_util::BodyExt::collect(answer.into_body()).await;
        assert_eq!(body.expect("read").to_bytes(), priority.name());
    }
}
