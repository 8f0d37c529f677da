//! What an API takes on (G9): past its limit it refuses at once and says when to come again, the more important go first,
//! nothing is done that nobody waits for, and probes, figures and operators are always answered.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use discovery::{Clients, Upstream};
use identity::Issuer;
use outrigger::{
    GatewayClient, Platform, RunningService, Settings,
    env::{self, Problem, request::Priority},
    http::Request,
    prelude::*,
};
use tokio::sync::Semaphore;

type Done = Result<(), BoxError>;

const SERVICE: &str = "work-service";
/// So many requests at once, whatever they take.
const LIMIT: u32 = 20;

struct Place {
    _folder: tempfile::TempDir,
    platform: Platform,
    service: RunningService,
    upstream: Upstream,
    /// The requests that wait at the handler, and what lets them go.
    working: Arc<AtomicUsize>,
    go: Arc<Semaphore>,
    /// The handlers that were given up.
    dropped: Arc<AtomicUsize>,
}

/// Counts a handler that is given up before its end.
struct Guard(Option<Arc<AtomicUsize>>);

impl Guard {
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(given_up) = &self.0 {
            given_up.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Place {
    async fn new() -> Result<Self, BoxError> {
        let folder = tempfile::tempdir()?;
        let mut settings = Settings {
            data: folder.path().to_owned(),
            ..Settings::default()
        };
        let limit = LIMIT.try_into()?;
        let admission = &mut settings.admission;
        (admission.initial, admission.least, admission.most) = (limit, limit, limit);
        let (working, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let dropped = Arc::new(AtomicUsize::new(0));
        let (begun, wait, gave_up) = (working.clone(), go.clone(), dropped.clone());
        let work = move || {
            let (begun, wait) = (begun.clone(), wait.clone());
            let guard = Guard(Some(gave_up.clone()));
            async move {
                begun.fetch_add(1, Ordering::Relaxed);
                if let Ok(permit) = wait.acquire().await {
                    permit.forget();
                }
                guard.ended();
                "done"
            }
        };
        let system = System::new("work").service(
            Service::new(SERVICE)
                .boundary(Boundary::of("work").apis(["/work", "/other"]))
                .routes(
                    Router::new()
                        .route("/work", get(work))
                        .route("/other", get(async || "done")),
                ),
        );
        let platform = Platform::embedded(settings).await?;
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let service = system.start_service(SERVICE, &platform, anywhere).await?;
        let grants = BTreeMap::from([(SERVICE.to_owned(), vec![identity::CALL.to_owned()])]);
        let issuer = Issuer::new(platform.keyring().clone(), "test", grants);
        let mut calls = discovery::Settings::default();
        calls.policy.retry = None;
        calls.policy.breaker = false;
        let registry = platform.registry().clone();
        let upstream = Clients::with_settings(registry, Some(issuer), calls).upstream(SERVICE);
        Ok(Self {
            _folder: folder,
            platform,
            service,
            upstream,
            working,
            go,
            dropped,
        })
    }

    /// Asks for `path`, in the context of a caller.
    fn ask(
        &self,
        path: &'static str,
        context: RequestContext,
    ) -> impl Future<Output = Result<Response, discovery::Error>> + Send + 'static {
        let upstream = self.upstream.clone();
        context.scope(async move {
            let request = Request::get(path).body(Body::empty()).expect("a request");
            upstream.send(request).await
        })
    }

    async fn fill(&self, count: usize, priority: Priority) {
        for _ in 0..count {
            tokio::spawn(self.ask("/work", RequestContext::new().with_priority(priority)));
        }
        self.until(|| self.working.load(Ordering::Relaxed) >= count)
            .await;
    }

    async fn until(&self, done: impl Fn() -> bool) {
        let waited = env::timeout(Duration::from_secs(10), async {
            while !done() {
                env::sleep(Duration::from_millis(2)).await;
            }
        });
        waited.await.expect("it comes to pass");
    }

    async fn stop(self) {
        self.go.close();
        self.service.stop().await;
        self.platform.stop().await;
    }
}

#[tokio::test]
async fn g9_past_its_limit_an_api_refuses_at_once_and_is_seen_all_the_same() -> Done {
    let place = Place::new().await?;
    place.fill(18, Priority::Normal).await;
    let refused = place.ask("/work", RequestContext::new()).await?;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["x-outrigger-overloaded"], "true");
    let body = axum::body::to_bytes(refused.into_body(), 4096).await?;
    let problem: Problem = serde_json::from_slice(&body)?;
    assert_eq!(problem.kind(), "overloaded");
    assert_eq!(
        place.working.load(Ordering::Relaxed),
        18,
        "it was not begun"
    );

    let other = place.ask("/other", RequestContext::new()).await?;
    assert_eq!(other.status(), 200, "each route has a limit of its own");
    let probes = GatewayClient::new(place.service.address());
    for path in ["/health", "/ready"] {
        assert_eq!(probes.get(path).await?.status, 200, "{path}");
    }
    let figures = probes.get("/metrics").await?.body.to_string();
    let line = "outrigger_admission_refused_total{service=\\\"work-service\\\",http_request_method=\\\"GET\\\",http_route=\\\"/work\\\",priority=\\\"normal\\\"} 1";
    assert!(figures.contains(line), "{figures}");

    place.go.add_permits(1);
    place.until(|| place.go.available_permits() == 0).await;
    let again = tokio::spawn(place.ask("/work", RequestContext::new()));
    place
        .until(|| place.working.load(Ordering::Relaxed) == 19)
        .await;
    place.go.add_permits(18);
    assert_eq!(again.await??.status(), 200, "there is room again");
    place.stop().await;
    Ok(())
}

#[tokio::test]
async fn g9_what_matters_more_is_taken_for_longer() -> Done {
    let place = Place::new().await?;
    let status = async |priority| -> Result<u16, BoxError> {
        let context = RequestContext::new()
            .with_priority(priority)
            .within(Duration::from_millis(200));
        Ok(place
            .ask("/work", context)
            .await
            .map_or(504, |answer| answer.status().as_u16()))
    };
    place.fill(12, Priority::Low).await;
    assert_eq!(status(Priority::Low).await?, 503, "three fifths are full");
    place.fill(18, Priority::Normal).await;
    assert_eq!(status(Priority::Normal).await?, 503, "nine tenths are full");
    assert_eq!(
        status(Priority::Critical).await?,
        504,
        "it is taken, and waits"
    );
    place.stop().await;
    Ok(())
}

#[tokio::test]
async fn g9_what_nobody_waits_for_is_not_begun_or_is_given_up() -> Done {
    let place = Place::new().await?;
    // A caller that says so, and waits all the same.
    let ask = async |deadline: &'static str| -> Result<u16, BoxError> {
        let token = Issuer::new(
            place.platform.keyring().clone(),
            "test",
            BTreeMap::from([(SERVICE.to_owned(), vec![identity::CALL.to_owned()])]),
        );
        let bearer = token.bearer(SERVICE)?;
        let client = GatewayClient::new(place.service.address())
            .with_header("x-request-deadline", deadline)
            .with_header("authorization", bearer.to_str()?);
        Ok(client.get("/work").await?.status.as_u16())
    };
    assert_eq!(ask("0").await?, 504);
    assert_eq!(place.working.load(Ordering::Relaxed), 0, "not begun");
    assert_eq!(ask("50").await?, 504);
    assert_eq!(place.working.load(Ordering::Relaxed), 1);
    place
        .until(|| place.dropped.load(Ordering::Relaxed) == 1)
        .await;
    place.stop().await;
    Ok(())
}
