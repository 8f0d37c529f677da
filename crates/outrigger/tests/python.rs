//! A service in another language: `examples/python` at the hub, called by the gateway and by a service in Rust, with events
//! of the hub's bus.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use discovery::HUB;
use events::{Bus, CloudEvent, HubBus};
use identity::{CALL, Issuer, Keyring};
use outrigger::{GatewayClient, Platform, RunningHub, Settings, prelude::*};
use serde_json::{Value as AnyJson, json};

type Done = Result<(), BoxError>;

const SERVICE: &str = "recommendation-service";
const CALLER: &str = "front-service";
const ANYWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const ROUTES: &str = r#"
[[route]]
path = "/recommendations"
methods = ["GET"]
service = "recommendation-service"

[[route]]
path = "/front"
methods = ["GET"]
service = "front-service"
"#;

/// What the service in Python answers, asked by this one.
async fn front(State(ctx): State<Context>) -> Result<Json<AnyJson>, Rejection> {
    let client = ctx.client(SERVICE)?;
    let found: Option<AnyJson> = client.get("/recommendations", &[]).await?;
    Ok(Json(json!({ "front": found })))
}

fn system() -> System {
    System::new("python")
        .service(
            Service::new(SERVICE)
                .boundary(Boundary::of("recommendations").apis(["/recommendations"])),
        )
        .service(
            Service::new(CALLER)
                .boundary(Boundary::of("front").apis(["/front"]).depends_on([SERVICE]))
                .routes(Router::new().route("/front", get(front))),
        )
        .gateway(ROUTES)
}

/// Of a process called `name`, whose keys are those of all in `folder`.
fn settings(folder: &Path, name: &str, hub: Option<SocketAddr>) -> Settings {
    let mut settings = Settings {
        data: folder.join(name),
        ..Settings::default()
    };
    settings.security.keys = Some(folder.join("keys.json"));
    settings.hub.url = hub.map(|at| format!("http://{at}"));
    settings
}

fn issuer(folder: &Path, service: &str) -> Result<Issuer, BoxError> {
    let grants = BTreeMap::from([(HUB.to_owned(), vec![CALL.to_owned()])]);
    Ok(Issuer::new(
        Keyring::load(&folder.join("keys.json"))?,
        service,
        grants,
    ))
}

/// The service in Python. Dropped, it is killed.
struct Python(Child);

impl Python {
    fn start(folder: &Path, hub: SocketAddr) -> Result<Self, BoxError> {
        let token = issuer(folder, SERVICE)?.lasting_token(HUB, Duration::from_secs(600))?;
        let file = folder.join("hub.token");
        std::fs::write(&file, token)?;
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let child = Command::new("python3")
            .arg(root.join("../../examples/python/recommendations.py"))
            .env("HUB", format!("http://{hub}"))
            .env("TOKEN_FILE", file)
            .env("DATABASE", folder.join("recommendations.sqlite"))
            .stdout(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("python3 is needed for this test: {error}"))?;
        Ok(Self(child))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn order(number: u64, product: &str, quantity: u64) -> Result<CloudEvent, BoxError> {
    let order = json!({
        "specversion": "1.0",
        "id": format!("order-{number}"),
        "source": CALLER,
        "type": "order.created",
        "partitionkey": number.to_string(),
        "data": { "orderId": number.to_string(), "lines": [{ "productId": product, "quantity": quantity }] },
    });
    Ok(CloudEvent::from_json(order.to_string().as_bytes())?)
}

/// Waits until `path` answers `wanted`.
async fn until(gateway: &GatewayClient, path: &str, wanted: &AnyJson) {
    let mut last = None;
    for _ in 0..600 {
        let answer = gateway.get(path).await;
        if answer.as_ref().is_ok_and(|answer| answer.body == *wanted) {
            return;
        }
        last = Some(answer);
        env::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} did not answer {wanted}: {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_in_python_is_called_and_handles_each_event_once() -> Done {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let hub = RunningHub::start(&settings(folder, "hub", None), ANYWHERE).await?;
    let at = hub.address();
    let inside = Platform::alone(settings(folder, "front", Some(at)), CALLER).await?;
    let front = system().start_service(CALLER, &inside, ANYWHERE).await?;
    let edge = Platform::alone(settings(folder, "gateway", Some(at)), "gateway").await?;
    let gateway = system().start_gateway(&edge, ANYWHERE).await?;
    let client = GatewayClient::new(gateway.address());
    let python = Python::start(folder, at)?;

    until(&client, "/recommendations", &json!({ "products": [] })).await;
    let tokens = issuer(folder, CALLER)?;
    let token = Arc::new(move || Ok(tokens.bearer(HUB)?));
    let bus = HubBus::new(&format!("http://{at}"))?.with_token(token);
    bus.publish(vec![order(1, "lamp", 2)?, order(2, "desk", 1)?])
        .await?;
    let both =
        json!([{ "productId": "lamp", "quantity": 2 }, { "productId": "desk", "quantity": 1 }]);
    until(&client, "/recommendations", &json!({ "products": both })).await;
    until(&client, "/front", &json!({ "front": { "products": both } })).await;

    // Killed and started again, it is found again, and counts nothing twice.
    drop(python);
    let _python = Python::start(folder, at)?;
    bus.publish(vec![order(3, "desk", 1)?]).await?;
    let desks =
        json!([{ "productId": "desk", "quantity": 2 }, { "productId": "lamp", "quantity": 2 }]);
    until(&client, "/recommendations", &json!({ "products": desks })).await;

    bus.close().await;
    gateway.stop().await;
    front.stop().await;
    edge.stop().await;
    inside.stop().await;
    hub.stop().await;
    Ok(())
}
