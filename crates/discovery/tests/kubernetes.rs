//! The EndpointSlices of a cluster, with a small API server of our own: what they mean, and what becomes of a watch that
//! ends, comes too late, is refused, or whose other side is gone.

mod api_server;
mod conformance {
    #[allow(dead_code, reason = "`tests/conformance.rs` runs it")]
    pub(crate) mod suite;
}
mod server;

use std::{net::SocketAddr, path::PathBuf};

use api_server::{ApiServer, Asked, conditions, endpoint, port, slice};
use axum::http::StatusCode;
use conformance::suite::{ids, instance};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, ForZone};
use outrigger_discovery::{
    Error, Instance, Kubernetes, Registry,
    registry::kubernetes::{Cluster, Options},
};
use server::{Server, nobody, until};
use tokio::sync::watch;

const SERVICE: &str = "user-service";

fn pod(name: &str, port: u16) -> Instance {
    instance(SERVICE, &format!("{SERVICE}@{name}"), port)
}

/// A server with one pod, and a registry that has seen it, and watches.
async fn watched() -> (
    ApiServer,
    watch::Receiver<outrigger_discovery::registry::Instances>,
    Kubernetes,
) {
    let server = ApiServer::default();
    server.put("one", &[pod("a", 1)]);
    let registry = server.registry(server::serve(server.routes()).await);
    let mut seen = registry.watch(SERVICE);
    ids(&mut seen, &["user-service@a"]).await;
    until(async || is_watched(&server)).await;
    (server, seen, registry)
}

/// Whether a watch was asked for last.
fn is_watched(server: &ApiServer) -> bool {
    server.asked().last().is_some_and(|it| it.watch)
}

/// How often something was listed.
fn lists(asked: &[Asked]) -> usize {
    asked.iter().filter(|it| !it.watch).count()
}

#[tokio::test]
async fn conditions_zones_and_several_slices_become_instances_each_once() {
    let server = ApiServer::default();
    let with = |name: &str, last: u8, change: &dyn Fn(&mut Endpoint)| {
        let mut made = endpoint(name, &format!("10.0.0.{last}"));
        change(&mut made);
        made
    };
    let ending = |it: &mut Endpoint| it.conditions = Some(conditions(false, true, true));
    let ended = |it: &mut Endpoint| it.conditions = Some(conditions(false, false, true));
    let starting = |it: &mut Endpoint| it.conditions = Some(conditions(false, false, false));
    let north = |it: &mut Endpoint| it.zone = Some("north".to_owned());
    let first = vec![
        with("ready", 1, &north),
        with("says-nothing", 2, &|it| it.conditions = None),
        with("ending", 3, &ending),
        with("ended", 4, &ended),
        with("starting", 5, &starting),
        with("hinted", 6, &|it| {
            north(it);
            let zone = ForZone {
                name: "south".to_owned(),
            };
            it.hints = Some(EndpointHints {
                for_zones: Some(vec![zone]),
                ..EndpointHints::default()
            });
        }),
    ];
    // An endpoint is in two slices while it moves from one to the other.
    let second = vec![
        with("ending", 3, &ending),
        with("ready", 1, &north),
        with("nobody's", 7, &|it| it.target_ref = None),
    ];
    let ports = || vec![port("metrics", 9000), port("http", 8080)];
    server.put_slice(slice("one", SERVICE, ports(), first));
    server.put_slice(slice("two", SERVICE, ports(), second));
    // The same pods once more, and what is no address.
    let mut v6 = slice("six", SERVICE, ports(), vec![endpoint("ready", "fd00::1")]);
    v6.address_type = "IPv6".to_owned();
    server.put_slice(v6);
    let mut names = slice(
        "names",
        SERVICE,
        ports(),
        vec![endpoint("named", "users.local")],
    );
    names.address_type = "FQDN".to_owned();
    server.put_slice(names);
    server.put_slice(slice(
        "no-port",
        SERVICE,
        vec![],
        vec![endpoint("mute", "10.0.0.9")],
    ));
    server.put_slice(slice(
        "foreign",
        "order-service",
        ports(),
        vec![endpoint("x", "10.0.0.8")],
    ));

    let registry = server.registry(server::serve(server.routes()).await);
    let mut seen = registry.watch(SERVICE);
    let expected = [
        ("10.0.0.7:8080", 7, None, false),
        ("ending", 3, None, true),
        ("hinted", 6, Some("south"), false),
        ("ready", 1, Some("north"), false),
        ("says-nothing", 2, None, false),
    ];
    let expected = expected.map(|(name, last, zone, draining)| Instance {
        address: SocketAddr::from(([10, 0, 0, last], 8080)),
        zone: zone.map(str::to_owned),
        draining,
        ..pod(name, 0)
    });
    let named: Vec<_> = expected.iter().map(|it| it.id.as_str()).collect();
    ids(&mut seen, &named).await;
    let found: Vec<_> = seen.borrow().iter().map(|it| (**it).clone()).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn every_change_is_seen_and_a_watch_that_ends_goes_on_where_it_was() {
    let (server, mut seen, _registry) = watched().await;
    server.put("two", &[pod("b", 2), pod("c", 3)]);
    ids(
        &mut seen,
        &["user-service@a", "user-service@b", "user-service@c"],
    )
    .await;
    server.end_watches();
    server.put("two", &[pod("c", 3)]);
    ids(&mut seen, &["user-service@a", "user-service@c"]).await;
    server.end_watches();
    server.delete("one");
    ids(&mut seen, &["user-service@c"]).await;

    let asked = server.asked();
    assert_eq!(lists(&asked), 0, "{asked:?}");
    let watches = asked.iter().filter(|it| it.watch);
    let bounded = watches
        .clone()
        .all(|it| it.allow_watch_bookmarks && it.timeout_seconds.is_some());
    assert!(bounded, "{asked:?}");
    assert!(watches.count() > 0, "{asked:?}");
}

#[tokio::test]
async fn who_comes_too_late_lists_anew_and_bookmarks_keep_the_patient_from_it() {
    let (server, mut seen, _registry) = watched().await;
    // Others have changed, which only a bookmark says; what was before it is forgotten.
    server.put("other", &[instance("order-service", "order-service@x", 9)]);
    let version = server.bookmark();
    server.end_watches();
    let resumed = async || {
        let asked = server.asked();
        assert_eq!(lists(&asked), 0, "{asked:?}");
        let mut from = asked.iter().map(|it| it.resource_version.as_ref());
        from.any(|it| it == Some(&version))
    };
    until(resumed).await;

    // Away for longer than the server remembers.
    server.refuse(Some(StatusCode::SERVICE_UNAVAILABLE));
    server.end_watches();
    until(async || server.asked().iter().any(|it| it.watch)).await;
    server.put("two", &[pod("b", 2)]);
    server.delete("one");
    server.compact();
    assert_eq!(seen.borrow().len(), 1, "what is known stays");
    server.refuse(None);
    ids(&mut seen, &["user-service@b"]).await;

    // The server forgets more than what a watch has told.
    until(async || is_watched(&server)).await;
    server.end_watches();
    server.put("two", &[pod("c", 3)]);
    server.put("other", &[instance("order-service", "order-service@y", 9)]);
    server.compact();
    ids(&mut seen, &["user-service@c"]).await;
    assert_eq!(lists(&server.asked()), 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_read_anew_as_a_whole() {
    let (server, mut seen, _registry) = watched().await;
    server.garble();
    until(async || lists(&server.asked()) > 0).await;
    server.put("two", &[pod("b", 2)]);
    ids(&mut seen, &["user-service@a", "user-service@b"]).await;
}

#[tokio::test]
async fn while_the_api_server_is_away_what_is_known_stays_and_it_is_found_again() {
    let (server, at) = (ApiServer::default(), nobody().await);
    let registry = server.registry(at);
    let mut seen = registry.watch(SERVICE);
    let asked = registry.services().await;
    assert!(asked.is_err_and(|error| error.is_registry_away()));
    assert!(!seen.borrow().is_known(), "nobody has said anything yet");

    server.put("one", &[pod("a", 1)]);
    let listening = Server::of(at, server.routes()).await;
    ids(&mut seen, &["user-service@a"]).await;
    listening.kill().await;
    server.put("one", &[pod("b", 2)]);
    let asked = registry.services().await;
    assert!(asked.is_err_and(|error| error.is_registry_away()));
    assert_eq!(seen.borrow()[0].id, "user-service@a", "its last word");
    let listening = Server::of(at, server.routes()).await;
    ids(&mut seen, &["user-service@b"]).await;
    assert_eq!(registry.services().await.expect("answered"), [SERVICE]);
    listening.kill().await;
}

#[tokio::test]
async fn who_may_not_look_is_told_the_rule_that_is_missing_and_asks_again() {
    let server = ApiServer::default();
    server.put("one", &[pod("a", 1)]);
    server.refuse(Some(StatusCode::FORBIDDEN));
    let registry = server.registry(server::serve(server.routes()).await);
    let mut seen = registry.watch(SERVICE);
    let error = registry.services().await.expect_err("forbidden");
    assert!(matches!(error, Error::Forbidden { .. }), "{error:?}");
    let said = error.to_string();
    let rule =
        "apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]";
    assert!(said.contains(rule), "{said}");
    assert!(
        said.contains("namespace shop") && said.contains("cannot list resource"),
        "{said}"
    );
    server.refuse(None);
    ids(&mut seen, &["user-service@a"]).await;
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let server = ApiServer::default();
    server.list_at_most(2);
    for number in 1..=5 {
        server.put(
            &format!("slice-{number}"),
            &[pod(&format!("{number}"), number)],
        );
    }
    let registry = server.registry(server::serve(server.routes()).await);
    let expected: Vec<_> = (1..=5)
        .map(|number| format!("{SERVICE}@{number}"))
        .collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    ids(&mut registry.watch(SERVICE), &expected).await;
    assert_eq!(registry.services().await.expect("answered"), [SERVICE]);
}

#[tokio::test]
async fn the_api_server_is_believed_by_the_authority_of_the_cluster_and_shown_the_token_of_now() {
    let server = ApiServer::default();
    server.put("one", &[pod("a", 1)]);
    server.expect_bearer("first");
    let tls = servers::Tls::before(server::serve(server.routes()).await).await;
    let tls = tls.expect("TLS");
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "first\n").expect("written");
    let cluster = |authority: PathBuf| Cluster {
        url: format!("https://{}", tls.address()),
        authorities: env::tls::Authorities::File(authority),
        token: Some(token.clone()),
        namespace: "shop".to_owned(),
    };
    let options = Options::default();
    let registry = Kubernetes::new(&cluster(tls.authority().to_owned()), &options);
    let registry = registry.expect("a registry");
    let mut seen = registry.watch(SERVICE);
    ids(&mut seen, &["user-service@a"]).await;

    // The cluster replaces tokens before they end.
    std::fs::write(&token, "second\n").expect("written");
    server.expect_bearer("second");
    server.end_watches();
    server.put("one", &[pod("b", 2)]);
    ids(&mut seen, &["user-service@b"]).await;

    let stranger = servers::Tls::before(tls.address()).await.expect("TLS");
    let deceived = Kubernetes::new(&cluster(stranger.authority().to_owned()), &options);
    let refused = deceived.expect("a registry").services().await;
    assert!(
        refused.is_err_and(|error| error.is_registry_away()),
        "another authority"
    );
    let missing = Kubernetes::new(&cluster(folder.path().join("none.pem")), &options);
    assert!(matches!(missing.err(), Some(Error::NoCluster { .. })));
}

#[test]
fn what_is_no_cluster_is_refused_with_how_to_write_it() {
    for (text, namespace, port) in [
        ("kubernetes", None, None),
        ("kubernetes://shop", Some("shop"), None),
        ("kubernetes?port=grpc", None, Some("grpc")),
        (
            "kubernetes://shop-2?port=grpc",
            Some("shop-2"),
            Some("grpc"),
        ),
    ] {
        let options: Options = text.parse().expect(text);
        assert_eq!(options.namespace.as_deref(), namespace);
        assert_eq!(options.port.as_deref(), port);
        assert_eq!(options.to_string(), text);
    }
    for wrong in [
        "kubernetes:",
        "kubernetes://Shop",
        "kubernetes://a/b",
        "kubernetes?port=",
        "kubernetes?ports=a",
    ] {
        let said = wrong.parse::<Options>().expect_err(wrong).to_string();
        assert!(said.contains("`kubernetes://shop?port=http`"), "{said}");
    }
    // No test runs in a pod.
    let error = Cluster::of_this_pod().expect_err("no pod").to_string();
    assert!(error.contains("KUBERNETES_SERVICE_HOST"), "{error}");
}
