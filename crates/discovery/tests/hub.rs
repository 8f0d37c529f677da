//! The client of a hub that is away, restarted, closed, or none.

mod server;

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, http::StatusCode, routing::any};
use env::Problem;
use futures::{StreamExt, stream};
use identity::{CALL, Issuer, Keyring, Verifier};
use outrigger_discovery::{
    Clients, Error, HUB, Hub, Instance, Registry, registrar, registry::KEEP_ALIVE,
};
use server::{Server, nobody, until};
use tokio_util::sync::CancellationToken;

const HEARTBEAT: Duration = Duration::from_millis(50);

/// A hub that can be taken away.
async fn hub(at: SocketAddr, folder: &Path, verifier: Option<Verifier>) -> Server {
    let options = hub::Options {
        verifier,
        ..hub::Options::default()
    };
    let url = format!("sqlite:{}", folder.join("hub.sqlite").display());
    let hub = hub::Hub::open(&url, options).await.expect("opened");
    Server::of(at, hub.routes()).await
}

fn client(at: SocketAddr) -> Hub {
    Hub::new(&format!("http://{at}"), None).expect("an address")
}

fn instance(port: u16) -> Instance {
    Instance::new("user-service", ([127, 0, 0, 1], port).into())
}

#[tokio::test]
async fn while_the_hub_is_away_what_is_known_stays_and_what_changed_is_seen_afterwards() {
    let (folder, at) = (tempfile::tempdir().expect("a folder"), nobody().await);
    let server = hub(at, folder.path(), None).await;
    let registry = client(at);
    let (first, second) = (instance(1), instance(2));
    registry.register(first.clone()).await.expect("registered");
    let mut seen = registry.watch("user-service");
    seen.wait_for(|now| now.len() == 1).await.expect("kept");

    server.kill().await;
    let refused = registry.register(second.clone()).await;
    assert!(refused.is_err_and(|error| error.is_registry_away()));
    assert_eq!(seen.borrow().len(), 1, "the last word of the hub");

    let server = hub(at, folder.path(), None).await;
    assert!(
        registry.heartbeat(&first.id).await.expect("answered"),
        "a restarted hub forgets nothing"
    );
    registry.register(second).await.expect("registered");
    let both = seen.wait_for(|now| now.len() == 2);
    env::timeout(Duration::from_secs(10), both)
        .await
        .expect("seen")
        .expect("kept");
    server.kill().await;
}

#[tokio::test]
async fn the_first_call_waits_until_the_hub_has_said_who_is_there() {
    let (folder, at) = (tempfile::tempdir().expect("a folder"), nobody().await);
    let server = hub(at, folder.path(), None).await;
    let registry = Arc::new(client(at));
    for address in [
        server::serve(server::echo()).await,
        server::serve(server::echo()).await,
    ] {
        let instance = Instance::new(server::SERVICE, address);
        registry.register(instance).await.expect("registered");
    }
    let clients = Clients::new(registry, None);
    let user = server::user(&clients.client(server::SERVICE)).await;
    assert!(user.expect("answered").is_some());
    let nobody = server::user(&clients.client("nobody-service")).await;
    assert!(matches!(nobody, Err(Error::NoInstances { .. })));
    server.kill().await;
}

/// What go-kratos gave up for good (#3883): a hub that was away and has forgotten everything hears of the instance again.
#[tokio::test]
async fn an_instance_is_registered_again_however_long_the_hub_was_away_and_whatever_it_lost() {
    let (folder, at) = (tempfile::tempdir().expect("a folder"), nobody().await);
    let registry = client(at);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let in_trouble = Router::new().fallback(any(async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Later.")
    }));
    let server = Server::of(at, in_trouble).await;
    // There is no hub to speak of yet: a service starts nevertheless.
    let registration = registrar::register(Arc::new(registry.clone()), instance(1), HEARTBEAT)
        .await
        .expect("a hub that is away is no refusal");
    let leave = CancellationToken::new();
    let kept = tokio::spawn(registration.keep(leave.clone()));
    let there = async || {
        registry
            .services()
            .await
            .is_ok_and(|it| it == ["user-service"])
    };

    until(async || asked.load(Ordering::Relaxed) > 20).await;
    server.kill().await;
    let server = hub(at, folder.path(), None).await;
    until(&there).await;
    server.kill().await;
    let empty = tempfile::tempdir().expect("a folder");
    let server = hub(at, empty.path(), None).await;
    until(&there).await;

    leave.cancel();
    kept.await.expect("ended");
    assert!(registry.services().await.expect("answered").is_empty());
    server.kill().await;
}

#[tokio::test]
async fn g10_closed_hubs_take_a_service_at_its_own_word_only() {
    let (folder, at) = (tempfile::tempdir().expect("a folder"), nobody().await);
    let keyring = Keyring::generate();
    let verifier = Some(Verifier::new(&keyring, HUB));
    let server = hub(at, folder.path(), verifier).await;
    let grants = [(HUB.to_owned(), vec![CALL.to_owned()])];
    let issuer = |service: &str| Issuer::new(keyring.clone(), service, grants.clone().into());
    let url = format!("http://{at}");
    let as_service = |name| Hub::new(&url, Some(issuer(name))).expect("an address");
    let (users, orders) = (as_service("user-service"), as_service("order-service"));
    let user = instance(1);

    users.register(user.clone()).await.expect("its own");
    for refused in [
        client(at).register(user.clone()).await,
        orders.register(user.clone()).await,
        orders.heartbeat(&user.id).await.map(drop),
        orders.deregister(&user.id).await,
        client(at).services().await.map(drop),
    ] {
        let error = refused.expect_err("refused");
        assert!(
            !error.is_registry_away(),
            "asking again is of no use: {error}"
        );
    }
    let mut seen = orders.watch("user-service");
    seen.wait_for(|now| now.len() == 1)
        .await
        .expect("everybody may look");
    server.kill().await;
}

/// It announces how often it says something, and then says nothing: whoever watches does not wait for ever.
#[tokio::test]
async fn a_hub_that_falls_silent_is_asked_again_as_soon_as_it_has_announced() {
    let at = nobody().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let silent = Router::new().fallback(any(async move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let comment = stream::iter([Ok::<_, Infallible>(": here\n\n")]);
        let body = Body::from_stream(comment.chain(stream::pending()));
        ([(KEEP_ALIVE, "50")], body)
    }));
    let server = Server::of(at, silent).await;
    let registry = client(at);
    let _seen = registry.watch("user-service");
    until(async || asked.load(Ordering::Relaxed) >= 3).await;
    server.kill().await;
}

#[tokio::test]
async fn what_is_no_hub_is_a_hub_that_is_away() {
    let at = nobody().await;
    let garbage = Router::new().fallback(any(async || "data: [{\"id\": 7}]\n\nhello\n"));
    let server = Server::of(at, garbage).await;
    let registry = client(at);
    let seen = registry.watch("user-service");
    let error = registry.services().await.expect_err("no hub");
    assert!(error.is_registry_away(), "{error}");
    assert!(seen.borrow().is_empty());
    server.kill().await;
}

#[test]
fn an_address_that_is_none_is_refused_with_the_reason() {
    let wrong = [
        ("ftp://hub:7700", "its scheme is neither http nor https"),
        ("hub:7700", "its scheme is neither http nor https"),
        ("http://hub:7700/v1", "a path has no meaning there"),
        (
            "http://hub:7700?ca=/x",
            "only `?ca=FILE` has a meaning there, behind https",
        ),
        (
            "https://hub?cas=/x",
            "only `?ca=FILE` has a meaning there, behind https",
        ),
        (
            "https://hub?ca=/nowhere/ca.pem",
            "/nowhere/ca.pem cannot be read as PEM",
        ),
        ("http:// hub", "it is not a URL"),
    ];
    for (url, reason) in wrong {
        let error = Hub::new(url, None).err().expect(url).to_string();
        assert!(error.contains(reason) && error.contains(url), "{error}");
    }
    assert!(Hub::new("http://hub", None).is_ok(), "7700 is the port");
    assert!(Hub::new("https://hub", None).is_ok(), "443 is the port");
}

#[tokio::test]
async fn a_hub_behind_tls_is_believed_by_the_authority_that_its_url_names_and_by_no_other() {
    let (folder, at) = (tempfile::tempdir().expect("a folder"), nobody().await);
    let server = hub(at, folder.path(), None).await;
    let tls = servers::Tls::before(at).await.expect("TLS");
    let url = |ca: &Path| format!("https://{}?ca={}", tls.address(), ca.display());
    let registry = Hub::new(&url(tls.authority()), None).expect("an address");
    let mut seen = registry.watch("user-service");
    registry.register(instance(1)).await.expect("registered");
    seen.wait_for(|now| now.len() == 1).await.expect("kept");

    let stranger = servers::Tls::before(at).await.expect("TLS");
    for deceived in [
        url(stranger.authority()),
        format!("https://{}", tls.address()),
    ] {
        let deceived = Hub::new(&deceived, None).expect("an address");
        let refused = deceived.register(instance(2)).await.expect_err("refused");
        let said = env::chain(&refused);
        assert!(
            refused.is_registry_away() && said.contains("certificate"),
            "{said}"
        );
    }
    assert_eq!(seen.borrow().len(), 1);
    server.kill().await;
}
