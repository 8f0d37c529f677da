//! `up --processes`: a process a service, kept running.

use std::{net::SocketAddr, path::Path, time::Duration};

use outrigger::env;
use rustix::process::{Signal, kill_process, test_kill_process};
use serde_json::Value;
use servers::Postgres;

use crate::{
    child::{Process, json, pid, run},
    open, order,
};

const UP: [&str; 7] = [
    "up",
    "--processes",
    "--gateway",
    "127.0.0.1:0",
    "--hub",
    "127.0.0.1:0",
    "--no-demo",
];

/// The ids of the processes of `service`, or of all.
fn ids(ready: &Value, service: Option<&str>) -> Vec<u32> {
    let processes = ready["processes"].as_array().expect("a list").iter();
    processes
        .filter(|one| service.is_none_or(|service| one["service"] == service))
        .map(|one| u32::try_from(one["pid"].as_u64().expect("an id")).expect("an id"))
        .collect()
}

fn is_alive(id: u32) -> bool {
    test_kill_process(pid(id)).is_ok()
}

/// Where `service` is, as the hub knows.
fn places(folder: &Path, shop: &Process, service: &str) -> Vec<SocketAddr> {
    let url = format!("http://{}", shop.address("hub"));
    let found = json(folder, &["services", "--hub", &url]);
    let instances = found["instances"].as_array().expect("a list").iter();
    instances
        .filter(|one| one["service"] == service)
        .map(|one| {
            one["address"]
                .as_str()
                .expect("text")
                .parse()
                .expect("an address")
        })
        .collect()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        env::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within half a minute: {what}");
}

/// Waits until the hub shows of each invariant that it is not violated.
async fn watched_over(shop: &Process) {
    let hub = shop.customer("hub");
    for invariant in shop::system().invariants() {
        let holds = format!("invariant=\"{}\"}} 0\n", invariant.name());
        let shown = async {
            loop {
                let figures = hub.get("/metrics").await.expect("an answer").body;
                if figures.as_str().is_some_and(|text| text.contains(&holds)) {
                    return;
                }
                env::sleep(Duration::from_millis(50)).await;
            }
        };
        let shown = env::timeout(Duration::from_secs(30), shown).await;
        shown.unwrap_or_else(|_| panic!("not shown: {holds}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_ready_the_demo_can_be_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let demonstrating: Vec<_> = UP.into_iter().filter(|it| *it != "--no-demo").collect();
    let shop = Process::start(folder.path(), &demonstrating);
    let customer = shop.customer("gateway");
    for path in ["/users/ada", "/products/lamp"] {
        let answer = customer.get(path).await.expect("an answer");
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_through_a_killed_process_comes_back_and_all_stop_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let shop = Process::start(folder, &UP);
    let all = ids(&shop.ready, None);
    assert_eq!(all.len(), 6, "{}", shop.ready);
    let customer = shop.customer("gateway");
    open(&customer).await;
    order(&customer, "before").await;
    watched_over(&shop).await;

    let users = ids(&shop.ready, Some("user-service"))[0];
    let before = places(folder, &shop, "user-service");
    kill_process(pid(users), Signal::KILL).expect("it runs");
    until(
        "another process of user-service is registered, and the dead one is not",
        || {
            let now = places(folder, &shop, "user-service");
            now.len() == 1 && now != before
        },
    )
    .await;
    order(&customer, "after").await;

    let (ended, said) = shop.stop();
    assert!(ended.success());
    assert!(said.is_empty(), "standard output is for data: {said}");
    assert!(!all.into_iter().any(is_alive), "all have stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_of_a_service_share_its_work_on_postgresql_and_the_bus_of_the_hub() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let refused = run(
        folder,
        &[&UP[..], &["--replicas", "order-service=2"]].concat(),
    );
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("PostgreSQL"),
        "{said}"
    );

    let postgres = Postgres::start().await.expect("a server");
    for service in shop::system().services() {
        let made = outrigger::data::provision(&postgres.url(), service.name(), "secret").await;
        made.expect("a database");
    }
    let settings = format!(
        "database = \"postgres://{{service}}:secret@127.0.0.1:{}/{{service}}?pool_size=4\"\n",
        postgres.port()
    );
    std::fs::write(folder.join("outrigger.toml"), settings).expect("a file");
    let replicas = ["--replicas", "order-service=2,user-service=2"];
    let shop = Process::start(folder, &[&UP[..], &replicas].concat());
    assert_eq!(ids(&shop.ready, Some("order-service")).len(), 2);
    assert_eq!(places(folder, &shop, "user-service").len(), 2);
    let customer = shop.customer("gateway");
    open(&customer).await;
    for key in ["one", "two", "three"] {
        order(&customer, key).await;
    }
    // While one of two is being replaced, the other one serves.
    let orders = ids(&shop.ready, Some("order-service"))[0];
    kill_process(pid(orders), Signal::TERM).expect("it runs");
    for key in ["four", "five", "six"] {
        order(&customer, key).await;
    }
    assert!(shop.stop().0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_do_not_outlive_the_one_that_started_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let shop = Process::start(folder.path(), &UP);
    let all = ids(&shop.ready, None);
    shop.kill();
    until("each has stopped by itself", || {
        !all.iter().any(|id| is_alive(*id))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_cannot_start_ends_all_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = "[services.user-service]\nlisten = \"192.0.2.1:1\"\n";
    std::fs::write(folder.path().join("outrigger.toml"), settings).expect("a file");
    let refused = run(folder.path(), &UP);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(said.contains("user-service"), "{said}");
    assert!(
        said.contains("cannot listen on 192.0.2.1:1"),
        "its own words: {said}"
    );
    assert!(said.contains("before it was ready"), "{said}");
}

#[test]
fn processes_that_are_to_find_each_other_elsewhere_are_refused_before_any_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    for (settings, named) in [
        (
            "[discovery]\nregistry = \"nats://127.0.0.1:1\"\n",
            "`discovery.registry`",
        ),
        ("[peers]\nuser-service = \"127.0.0.1:1\"\n", "`peers`"),
    ] {
        std::fs::write(folder.path().join("outrigger.toml"), settings).expect("a file");
        let refused = run(folder.path(), &UP);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success());
        assert!(
            said.contains(named) && said.contains("no meaning with --processes"),
            "{said}"
        );
        assert!(!said.contains("before it was ready"), "{said}");
    }
}
