//! The layer in front of a service: trace, scope and measures of every request.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod watch;

use std::{convert::Infallible, sync::Arc, time::Duration};

use env::RequestContext;
use http::{Request, Response, StatusCode};
use opentelemetry::trace::{SpanKind, Status};
use outrigger_telemetry::{
    Metrics, PerformanceMonitor,
    http::{Route, ServerLayer, UNMATCHED},
    logging::Format,
    propagation,
};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::{info, info_span};
use watch::Watch;

struct Front {
    metrics: Metrics,
    performance: PerformanceMonitor,
}

impl Front {
    fn new() -> Self {
        Self {
            metrics: Metrics::new("order-service"),
            performance: PerformanceMonitor::default(),
        }
    }

    fn layer(&self) -> ServerLayer {
        ServerLayer::new(self.metrics.clone(), self.performance.clone())
    }

    /// The count of requests with these labels.
    fn served(&self, method: &str, route: &str, status: u16) -> usize {
        let series = format!(
            "http_server_request_duration_seconds_count{{service=\"order-service\",\
             http_request_method=\"{method}\",http_route=\"{route}\",\
             http_response_status_code=\"{status}\"}} "
        );
        let text = self.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.map_or(0, |count| count.parse().unwrap())
    }
}

fn get(path: &str) -> Request<()> {
    let route = Route("/orders/{id}".into());
    Request::get(path).extension(route).body(()).unwrap()
}

#[tokio::test]
async fn a_request_belongs_to_its_callers_trace_and_correlation() {
    let watch = Watch::new(Format::Json, "info");
    let front = Front::new();
    let service = front.layer().layer(service_fn(|_: Request<()>| async {
        info!("handled");
        let text = format!(
            "{} {}",
            propagation::trace_id().unwrap(),
            RequestContext::current().correlation_id
        );
        Ok::<_, Infallible>(Response::new(text))
    }));
    let mut request = get("/orders/7");
    request
        .headers_mut()
        .insert("x-correlation-id", "c-42".parse().unwrap());
    let caller = info_span!("caller").in_scope(|| {
        propagation::inject(request.headers_mut());
        propagation::trace_id().unwrap()
    });

    let response = service.oneshot(request).await.unwrap();

    assert_eq!(response.headers()["x-correlation-id"], "c-42");
    assert_eq!(response.body(), &format!("{caller} c-42"));
    let line: serde_json::Value = serde_json::from_str(&watch.lines()[0]).unwrap();
    assert_eq!(line["trace_id"], caller.as_str());
    assert_eq!(line["service"], "order-service");
    assert_eq!(line["correlation_id"], "c-42");
    let spans = watch.spans();
    assert_eq!(spans[1].name, "GET /orders/{id}");
    assert_eq!(spans[1].span_kind, SpanKind::Server);
    assert_eq!(spans[1].parent_span_id, spans[0].span_context.span_id());
    assert_eq!(spans[1].status, Status::Ok);
}

#[tokio::test]
async fn an_answer_given_within_the_call_is_in_scope_too() {
    let _watch = Watch::new(Format::Json, "info");
    let front = Front::new();
    // As a layer does that refuses a request before it returns a future.
    let service = front.layer().layer(service_fn(|_: Request<()>| {
        let id = RequestContext::current().correlation_id;
        let traced = propagation::trace_id().is_some();
        std::future::ready(Ok::<_, Infallible>(Response::new((id, traced))))
    }));
    let mut request = get("/orders/7");
    request
        .headers_mut()
        .insert("x-correlation-id", "c-42".parse().unwrap());

    let response = service.oneshot(request).await.unwrap();

    assert_eq!(response.body(), &("c-42".to_owned(), true));
}

#[tokio::test]
async fn a_status_is_ok_or_error_or_timeout_or_the_clients_own() {
    let watch = Watch::new(Format::Json, "info");
    let front = Front::new();
    let service = front
        .layer()
        .layer(service_fn(|request: Request<()>| async move {
            let status: u16 = request.uri().path()[1..].parse().unwrap();
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Ok::<_, Infallible>(response)
        }));
    for (status, expected) in [
        (201, Status::Ok),
        (404, Status::Unset),
        (500, Status::error("error")),
        (504, Status::error("timeout")),
    ] {
        service
            .clone()
            .oneshot(get(&format!("/{status}")))
            .await
            .unwrap();
        assert_eq!(watch.spans()[0].status, expected, "{status}");
        assert_eq!(front.served("GET", "/orders/{id}", status), 1);
    }
    let seen = front.performance.snapshot("GET /orders/{id}").unwrap();
    assert_eq!((seen.count, seen.errors), (4, 2));
}

#[tokio::test]
async fn a_service_that_routes_by_itself_names_the_route_in_its_response() {
    let watch = Watch::new(Format::Json, "info");
    let front = Front::new();
    let service = front.layer().layer(service_fn(|_: Request<()>| async {
        let mut response = Response::new(());
        let route: Arc<str> = "/products/{id}".into();
        response.extensions_mut().insert(Route(route));
        Ok::<_, Infallible>(response)
    }));

    let request = Request::get("/products/7").body(()).unwrap();
    service.oneshot(request).await.unwrap();

    assert_eq!(watch.spans()[0].name, "GET /products/{id}");
    assert_eq!(front.served("GET", "/products/{id}", 200), 1);
}

#[tokio::test]
async fn no_path_of_a_client_becomes_a_label() {
    let front = Front::new();
    let service = front.layer().layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(()))
    }));
    for number in 0..50 {
        let request = Request::builder()
            .method(format!("M{number}").as_str())
            .uri(format!("/secret/{number}"))
            .body(())
            .unwrap();
        service.clone().oneshot(request).await.unwrap();
    }
    assert!(!front.metrics.render().contains("secret"));
    assert_eq!(front.served("_OTHER", UNMATCHED, 200), 50);
    assert_eq!(front.performance.snapshots().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_client_goes_away_is_measured_once() {
    let watch = Watch::new(Format::Json, "info");
    let front = Front::new();
    let mut service = front.layer().layer(service_fn(|_: Request<()>| async {
        std::future::pending::<()>().await;
        Ok::<_, Infallible>(Response::new(()))
    }));

    let mut answer = service.ready().await.unwrap().call(get("/orders/7"));
    assert!(futures::poll!(&mut answer).is_pending());
    let active =
        r#"http_server_active_requests{service="order-service",http_request_method="GET"} "#;
    assert!(front.metrics.render().contains(&format!("{active}1\n")));
    advance(Duration::from_secs(3)).await;
    drop(answer);

    assert_eq!(front.served("GET", "/orders/{id}", 499), 1);
    assert!(front.metrics.render().contains(&format!("{active}0\n")));
    let seen = front.performance.snapshot("GET /orders/{id}").unwrap();
    assert_eq!((seen.count, seen.mean), (1, Duration::from_secs(3)));
    assert_eq!(watch.spans()[0].status, Status::error("client-gone"));
}

#[tokio::test]
async fn the_service_that_was_found_ready_is_the_one_that_is_called() {
    /// Ready once it was asked; a clone must be asked again.
    #[derive(Default)]
    struct Strict(bool);

    impl Clone for Strict {
        fn clone(&self) -> Self {
            Self(false)
        }
    }

    impl Service<Request<()>> for Strict {
        type Response = Response<()>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<()>, Infallible>>;

        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Infallible>> {
            self.0 = true;
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            assert!(std::mem::take(&mut self.0), "called before it was ready");
            std::future::ready(Ok(Response::new(())))
        }
    }

    let mut service = Front::new().layer().layer(Strict::default());
    for _ in 0..2 {
        service
            .ready()
            .await
            .unwrap()
            .call(get("/orders/7"))
            .await
            .unwrap();
    }
}
