//! A running system says that an invariant is violated, and that it holds again: in its figures, and to a webhook.

mod orders;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use orders::Orders;
use outrigger::{
    Settings,
    env::config::{Loader, Secret},
    invariant,
    prelude::*,
    settings::Invariants,
    telemetry::Metrics,
};
use serde_json::Value;

/// What came, and how often it is refused first.
#[derive(Clone, Default)]
struct Receiver {
    heard: Arc<Mutex<Vec<Value>>>,
    refusals: Arc<Mutex<usize>>,
}

impl Receiver {
    async fn take(State(receiver): State<Self>, Json(notice): Json<Value>) -> StatusCode {
        let mut refusals = receiver.refusals.lock().expect("no panic");
        if *refusals > 0 {
            *refusals -= 1;
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        receiver.heard.lock().expect("no panic").push(notice);
        StatusCode::OK
    }

    async fn serve(self) -> SocketAddr {
        let any = ([127, 0, 0, 1], 0).into();
        let mut listener = outrigger::env::net::listen(any).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let routes = Router::new()
            .route("/alerts", post(Self::take))
            .with_state(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = hyper_util::service::TowerToHyperService::new(routes.clone());
                let stream = hyper_util::rt::TokioIo::new(stream);
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(stream, service));
            }
        });
        address
    }

    /// The statuses that it was told of, and the invariant.
    fn heard(&self) -> Vec<(String, String)> {
        let heard = self.heard.lock().expect("no panic");
        let alert = |notice: &Value| {
            let alert = &notice["alerts"][0];
            assert_eq!(notice["version"], "4");
            assert_eq!(notice["status"], alert["status"]);
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            (text(&alert["status"]), text(&alert["labels"]["invariant"]))
        };
        heard.iter().map(alert).collect()
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        outrigger::env::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within 20 seconds: {what}");
}

/// Violates an invariant and mends that, and waits until both are in the figures and told to `receiver`.
async fn each_change_is_told(receiver: Receiver, invariants: Invariants) {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings {
        data: folder.path().to_owned(),
        invariants: Invariants {
            every: Duration::from_millis(20),
            ..invariants
        },
        ..Settings::default()
    };
    let orders = Orders::open(&settings).await;
    let system = System::new("shop")
        .service(Service::new("orders"))
        .invariant("orders are paid", Duration::ZERO, orders::are_paid)
        .invariant("nothing is odd", Duration::ZERO, async |_| {
            Ok::<(), String>(())
        });
    let metrics = Metrics::new("hub");
    let shows = |name: &str, value: u32| {
        let series = format!(
            "outrigger_invariant_violated{{service=\"hub\",invariant=\"{name}\"}} {value}\n"
        );
        metrics.render().contains(&series)
    };
    let story = async {
        until("nothing is violated", || shows("orders are paid", 0)).await;
        orders.place("1").await;
        until("it is in the figures", || shows("orders are paid", 1)).await;
        until("it is told", || receiver.heard().len() == 1).await;
        orders.pay("1").await;
        until("it is not any more", || shows("orders are paid", 0)).await;
        until("its end is told", || receiver.heard().len() == 2).await;
        assert!(shows("nothing is odd", 0));
    };
    tokio::select! {
        () = story => {}
        never = invariant::guard(&system, &settings, Some(metrics.clone())) => match never {},
    }
    let told = |status: &str| (status.to_owned(), "orders are paid".to_owned());
    assert_eq!(receiver.heard(), [told("firing"), told("resolved")]);
}

#[tokio::test]
async fn a_violated_invariant_is_in_the_figures_and_a_webhook_is_told_once_of_each_change() {
    let receiver = Receiver::default();
    *receiver.refusals.lock().expect("no panic") = 1;
    let address = receiver.clone().serve().await;
    let invariants = Invariants {
        webhook: Some(Secret::new(format!("http://{address}/alerts"))),
        ..Invariants::default()
    };
    each_change_is_told(receiver, invariants).await;
}

#[tokio::test]
async fn a_webhook_behind_tls_is_told_where_the_authority_that_vouches_for_it_is_named() {
    let receiver = Receiver::default();
    let tls = servers::Tls::before(receiver.clone().serve().await).await;
    let tls = tls.expect("TLS");
    let invariants = Invariants {
        webhook: Some(Secret::new(format!("https://{}/alerts", tls.address()))),
        webhook_ca: Some(tls.authority().to_owned()),
        ..Invariants::default()
    };
    each_change_is_told(receiver, invariants).await;
}

#[test]
fn a_webhook_that_is_no_url_is_refused_by_its_key() {
    for url in ["alerts:9000", "ftp://alerts", "https://", ""] {
        let text = format!("[invariants]\nwebhook = {url:?}");
        let loaded = Loader::default()
            .text("outrigger.toml".as_ref(), &text)
            .and_then(|loader| loader.load::<Settings>());
        let error = loaded.expect_err("it is no URL").to_string();
        assert!(error.contains("invariants.webhook"), "{error}");
    }
}
