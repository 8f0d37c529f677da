//! The shop as many processes, which find each other at a hub.

mod child;
mod supervised;

use std::{net::SocketAddr, path::Path};

use outrigger::GatewayClient;
use serde_json::json;
use servers::Postgres;

use child::{Process, Waiting, json, run};

/// Five services, joined to the hub at `url`.
fn services(folder: &Path, url: &str) -> Vec<Process> {
    let system = shop::system();
    let names = system.services().iter().map(|service| service.name());
    names
        .map(|name| Process::start(folder, &["serve", name, "--hub", url]))
        .collect()
}

/// Ada orders a lamp, with a key of her own, and has it.
async fn order(gateway: &GatewayClient, key: &str) {
    let path = place(gateway, key).await;
    confirmed(gateway, &path).await;
}

/// Ada orders a lamp, with a key of her own: where the order is. It may still be under way.
async fn place(gateway: &GatewayClient, key: &str) -> String {
    let order = json!({ "userId": "ada", "items": [{ "productId": "lamp", "quantity": 1 }] });
    let ada = gateway.clone().with_header("idempotency-key", key);
    let answer = ada.post("/orders", &order).await.expect("an answer");
    assert!(answer.status.is_success(), "{answer:?}");
    let location = answer.headers.get("location").expect("where it is");
    location.to_str().expect("a path").to_owned()
}

async fn confirmed(gateway: &GatewayClient, path: &str) {
    for _ in 0..600 {
        let found = gateway.get(path).await.expect("an answer");
        if found.body["status"] == "CONFIRMED" {
            return;
        }
        outrigger::env::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{path} is not confirmed");
}

async fn open(gateway: &GatewayClient) {
    let user = json!({ "id": "ada", "email": "ada@example.com", "name": "Ada" });
    let lamp = json!({ "id": "lamp", "name": "Lamp", "price": 99.99, "stock": 100 });
    for (path, body) in [("/users", user), ("/products", lamp)] {
        let answer = gateway.post(path, &body).await.expect("an answer");
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}

/// What `shop services` lists: each service, and where.
fn listed(folder: &Path, url: &str) -> Vec<(String, SocketAddr)> {
    let found = json(folder, &["services", "--hub", url]);
    let instances = found["instances"].as_array().expect("a list").clone();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    instances
        .iter()
        .map(|it| {
            (
                text(&it["service"]),
                text(&it["address"]).parse().expect("an address"),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_through_processes_that_know_only_the_hub_and_the_hub_may_die() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let hub = Process::start(folder, &["serve", "hub", "--listen", "127.0.0.1:0"]);
    let at = hub.address("address").to_string();
    let url = format!("http://{at}");
    let services = services(folder, &url);
    let gateway = Process::start(folder, &["serve", "gateway", "--hub", &url]);
    let customer = gateway.customer("address");
    open(&customer).await;
    order(&customer, "first").await;

    let expected: Vec<_> = [&gateway]
        .into_iter()
        .chain(&services)
        .map(|it| it.address("address"))
        .collect();
    let found = listed(folder, &url);
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(
        found.iter().all(|(_, at)| expected.contains(at)),
        "{found:?}"
    );

    hub.kill();
    // It is taken, after calls between services; its messages wait for the hub.
    let waiting = place(&customer, "without-a-hub").await;
    let refused = run(folder, &["services", "--hub", &url]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("cannot ask the hub at"),
        "{said}"
    );
    let hub = Process::start(folder, &["serve", "hub", "--listen", &at]);
    assert_eq!(
        listed(folder, &url),
        found,
        "a hub that was killed forgets nothing"
    );
    confirmed(&customer, &waiting).await;

    let (ended, _) = gateway.stop();
    assert!(ended.success());
    let (mut left, mut expected) = (listed(folder, &url), found);
    expected.retain(|(service, _)| service != "gateway");
    left.sort();
    expected.sort();
    assert_eq!(left, expected, "who stops leaves");
    drop((hub, services));
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_closed_a_foreign_program_uses_the_hub_with_the_token_that_it_was_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let hub = Process::start(folder, &["serve", "hub", "--listen", "127.0.0.1:0"]);
    let services = "/v1/registry/services";
    let stranger = hub.customer("address");
    let refused = stranger.get(services).await.expect("an answer");
    assert_eq!(refused.status, 401);

    for (arguments, status) in [
        (&["token", "billing-service"][..], 200),
        (&["token", "billing-service", "--lifetime", "720h"], 200),
        (&["token", "billing-service", "--for", "user-service"], 421),
    ] {
        let made = json(folder, arguments);
        let bearer = format!("Bearer {}", made["token"].as_str().expect("a token"));
        let program = stranger.clone().with_header("authorization", &bearer);
        let answer = program.get(services).await.expect("an answer");
        assert_eq!(answer.status, status, "{arguments:?}: {answer:?}");
    }
    // A new key locks nobody out.
    let rotated = json(folder, &["keys", "rotate"]);
    assert!(
        rotated["signsFrom"].is_string() && rotated["key"].is_string(),
        "{rotated}"
    );
    let made = json(folder, &["token", "billing-service"]);
    let bearer = format!("Bearer {}", made["token"].as_str().expect("a token"));
    let program = stranger.clone().with_header("authorization", &bearer);
    assert_eq!(program.get(services).await.expect("an answer").status, 200);
    for (wrong, why) in [
        (["--for", "usr-service"], "there is no service usr-service"),
        (["--lifetime", "721h"], "it is from 1s to 720h"),
    ] {
        let refused = run(
            folder,
            &[&["token", "billing-service"][..], &wrong].concat(),
        );
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains(why), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_joins_a_shop_in_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let up = [
        "up",
        "--gateway",
        "127.0.0.1:0",
        "--hub",
        "127.0.0.1:0",
        "--no-demo",
    ];
    let shop = Process::start(folder, &up);
    let url = format!("http://{}", shop.address("hub"));
    let gateway = Process::start(folder, &["serve", "gateway", "--hub", &url]);
    let customer = gateway.customer("address");
    open(&customer).await;
    order(&customer, "from-outside").await;
    assert_eq!(listed(folder, &url).len(), 7);

    let taken = shop.address("hub").to_string();
    let second = ["up", "--gateway", "127.0.0.1:0", "--hub", &taken];
    let elsewhere = tempfile::tempdir().expect("a folder");
    let refused = run(elsewhere.path(), &second);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("the hub cannot listen on"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_waits_for_its_database_and_stops_when_it_is_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let mut postgres = Postgres::start().await.expect("a server");
    let made = outrigger::data::provision(&postgres.url(), "user-service", "secret").await;
    made.expect("a database");
    let port = postgres.port();
    let settings =
        format!("database = \"postgres://{{service}}:secret@127.0.0.1:{port}/{{service}}\"");
    std::fs::write(folder.join("outrigger.toml"), settings).expect("a file");
    postgres.kill().await.expect("killed");

    let arguments = ["serve", "user-service", "--listen", "127.0.0.1:0"];
    let mut told = Waiting::start(folder, &arguments);
    let mut patient = Waiting::start(folder, &arguments);
    for waiting in [&mut told, &mut patient] {
        let said = waiting.complaint();
        assert!(said.starts_with("waiting for the database: "), "{said}");
        assert!(
            said.contains(&format!("127.0.0.1:{port}/user-service")),
            "{said}"
        );
    }
    assert!(told.stop().success());
    postgres.restart().await.expect("restarted");
    let ready = patient.ready();
    assert_eq!(ready["status"], "ready", "{ready}");
    assert!(patient.stop().success());
}
