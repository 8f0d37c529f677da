//! The bus of a hub, over real sockets: what every bus does, and what becomes of it when the hub or a member goes.

mod conformance;
mod support;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::Router;
use conformance::order::any_step;
use data::{Database, Migration, Transaction, params};
use env::{BoxError, net::Listener};
use events::{
    Bus, CloudEvent, Error, Handlers, HubBus, Publish, Subscription, consumer, hub::Token, relay,
};
use identity::{CALL, Issuer, Keyring, Verifier};
use outrigger_events as events;
use proptest::{
    collection,
    strategy::{Strategy, ValueTree},
    test_runner::{Config, TestRng, TestRunner},
};
use support::{Folder, drain, event, eventually, gather, ids, nothing, take};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const LEASE: Duration = Duration::from_secs(2);

/// A hub that can be killed, with every connection to it, and started again where it was.
struct Server {
    folder: Folder,
    address: SocketAddr,
    verifier: Option<Verifier>,
    running: tokio::sync::Mutex<JoinSet<()>>,
}

impl Server {
    async fn start(verifier: Option<Verifier>) -> Self {
        support::real_time();
        let server = Self {
            folder: Folder::new(),
            address: nobody().await,
            verifier,
            running: tokio::sync::Mutex::default(),
        };
        server.restart().await;
        server
    }

    async fn kill(&self) {
        self.running.lock().await.shutdown().await;
    }

    async fn restart(&self) {
        self.kill().await;
        let options = hub::Options {
            bus: hub::bus::Options {
                lease: LEASE,
                ..hub::bus::Options::default()
            },
            verifier: self.verifier.clone(),
            ..hub::Options::default()
        };
        let url = self.folder.url("hub.sqlite");
        let hub = hub::Hub::open(&url, options).await.expect("opened");
        let mut running = self.running.lock().await;
        let listener = env::net::listen(self.address).await;
        running.spawn(serve(listener.expect("the port is free"), hub.routes()));
        running.spawn(async move { hub.run(CancellationToken::new()).await });
    }

    fn client(&self) -> HubBus {
        HubBus::new(&format!("http://{}", self.address)).expect("a URL")
    }

    fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(self.client())
    }
}

/// A port on which nobody listens.
async fn nobody() -> SocketAddr {
    let listener = env::net::listen(([127, 0, 0, 1], 0).into()).await;
    let address = listener.expect("a port").local_addr();
    address.expect("bound")
}

/// Serves until it is dropped, and every connection with it.
async fn serve(mut listener: Listener, routes: Router) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let service = hyper_util::service::TowerToHyperService::new(routes.clone());
        connections.spawn(async move {
            let executor = hyper_util::rt::TokioExecutor::new();
            let http = hyper_util::server::conn::auto::Builder::new(executor);
            let stream = hyper_util::rt::TokioIo::new(stream);
            _ = http.serve_connection(stream, service).await;
        });
    }
}

async fn join(bus: &Arc<dyn Bus>) -> Box<dyn Subscription> {
    conformance::join(bus, "orders", &["order.*"]).await
}

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            let server = Server::start(None).await;
            conformance::$name(server.bus()).await;
        })*
    };
}

conformance::every_promise!(conforms);

#[tokio::test]
async fn g2_not_lost_when_the_bus_restarts() {
    let server = Server::start(None).await;
    conformance::g2_not_lost_when_the_bus_restarts(async || {
        server.restart().await;
        server.bus()
    })
    .await;
}

#[tokio::test]
async fn g4_ordered_and_g2_not_lost_whatever_happens() {
    let algorithm = Config::default().rng_algorithm;
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(algorithm));
    for _ in 0..3 {
        let steps = collection::vec(any_step(), 30..40).new_tree(&mut runner);
        let steps = steps.expect("steps").current();
        let server = Server::start(None).await;
        conformance::order::g4_ordered_and_g2_not_lost_whatever_happens(server.bus(), steps).await;
    }
}

/// A service that publishes and one that handles, which notes what it has handled.
struct Services {
    till: Database,
    notices: Database,
    stop: CancellationToken,
}

const NOTES: &[Migration] = &[Migration::new(
    1,
    "handled",
    "CREATE TABLE handled (position INTEGER PRIMARY KEY, id TEXT NOT NULL)",
)];

async fn note(tx: &mut Transaction, event: CloudEvent) -> Result<(), BoxError> {
    let insert = "INSERT INTO handled (id) VALUES ($1)";
    tx.execute(insert, params![event.id]).await?;
    Ok(())
}

impl Services {
    /// Of the one that handles there are two replicas, each with its own way to the hub.
    async fn start(server: &Server) -> Self {
        let services = Self {
            till: server.folder.database("till").await,
            notices: server.folder.database("notices").await,
            stop: CancellationToken::new(),
        };
        services.notices.migrate(NOTES).await.expect("migrated");
        let (till, options) = (services.till.clone(), relay::Options::default());
        let relaying = relay::run(till, server.bus(), options, services.stop.clone());
        tokio::spawn(relaying);
        for _ in 0..2 {
            let (db, bus, stop) = (
                services.notices.clone(),
                server.bus(),
                services.stop.clone(),
            );
            let handlers = Handlers::new().on_raw("order.created", note);
            tokio::spawn(async move {
                let options = consumer::Options::default();
                consumer::run(db, bus, "notices", handlers, options, stop).await
            });
        }
        services
    }

    async fn commit(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let mut tx = self.till.begin().await.expect("begun");
            for key in ["a", "b", "c", "d", "e"] {
                let mut event = event("order.created", key, number);
                event.source.clear();
                tx.publish_raw(event).expect("published");
            }
            tx.commit().await.expect("committed");
        }
    }

    async fn handled(&self) -> Vec<String> {
        let all = "SELECT id FROM handled ORDER BY position";
        let rows = self.notices.query(all, params![]).await.expect("read");
        rows.iter().map(|row| row.get(0).expect("an id")).collect()
    }
}

#[tokio::test]
async fn g2_g3_g4_every_event_is_handled_once_and_in_order_while_the_hub_is_killed_and_restarted() {
    let server = Server::start(None).await;
    let services = Services::start(&server).await;
    for round in 0..4 {
        let numbers = 40 * round..40 * (round + 1);
        let half = numbers.start + 20;
        services.commit(numbers.start..half).await;
        let before = services.handled().await.len();
        let goes_on = async || services.handled().await.len() > before;
        eventually("it is under way", goes_on).await;
        server.kill().await;
        services.commit(half..numbers.end).await;
        server.restart().await;
    }
    let all = 160;
    let handled = async || services.handled().await.len() >= 5 * all as usize;
    eventually("everything is handled", handled).await;
    let mut by_key: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for id in services.handled().await {
        let (key, number) = id.split_once('-').expect("key-number");
        let numbers = by_key.entry(key.to_owned()).or_default();
        numbers.push(number.parse().expect("a number"));
    }
    for (key, numbers) in by_key {
        assert_eq!(numbers, (0..all).collect::<Vec<_>>(), "{key}");
    }
    services.stop.cancel();
}

/// Its process is gone without a word: neither does it leave, nor does it say that it lives.
#[test]
fn g2_not_lost_when_a_member_dies_with_events_in_hand() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let (machine, process) = (runtime(), runtime());
    let server = machine.block_on(Server::start(None));
    let taken = process.block_on(async {
        let bus = server.bus();
        let member = join(&bus).await;
        let numbers = [("a", 1), ("a", 2), ("b", 1)];
        let events = numbers.map(|(key, number)| event("order.created", key, number));
        bus.publish(events.to_vec()).await.expect("published");
        let taken = gather(member.as_ref(), 2).await;
        // Nobody drops it.
        std::mem::forget(member);
        taken
    });
    assert_eq!(ids(&taken), ["a-1", "b-1"]);
    process.shutdown_background();
    machine.block_on(async {
        let bus = server.bus();
        let other = join(&bus).await;
        let begun = env::instant();
        let inherited = gather(other.as_ref(), 2).await;
        assert_eq!(ids(&inherited), ["a-1", "b-1"]);
        assert!(begun.elapsed() > LEASE / 2, "not before its lease was over");
        other.ack(&inherited[0]).await.expect("acknowledged");
        assert_eq!(drain(other.as_ref()).await, ["a-2"]);
    });
}

#[tokio::test]
async fn a_member_that_the_hub_forgot_settles_in_vain_without_harm_and_is_given_again() {
    let server = Server::start(None).await;
    let bus = server.bus();
    let orders = join(&bus).await;
    let events = [1, 2].map(|number| event("order.created", "a", number));
    bus.publish(events.to_vec()).await.expect("published");
    let taken = take(orders.as_ref(), 1).await;
    server.restart().await;
    let others = join(&bus).await;
    let again = take(others.as_ref(), 1).await;
    assert_eq!(ids(&again), ["a-1"]);

    orders.ack(&taken[0]).await.expect("as if it were settled");
    nothing(orders.as_ref()).await;
    others.ack(&again[0]).await.expect("acknowledged");
    let mut seen = drain(orders.as_ref()).await;
    seen.extend(drain(others.as_ref()).await);
    assert_eq!(seen, ["a-2"]);
}

#[tokio::test]
async fn who_waits_goes_on_waiting_when_the_hub_comes_back() {
    let server = Server::start(None).await;
    let bus = server.bus();
    let orders = join(&bus).await;
    nothing(orders.as_ref()).await;
    server.kill().await;
    let published = bus.publish(vec![event("order.created", "a", 1)]).await;
    let error = published.expect_err("nobody is there");
    assert!(matches!(error, Error::Unavailable { .. }) && error.is_retryable());
    assert!(
        orders
            .next(1)
            .await
            .is_err_and(|error| error.is_retryable())
    );

    let waiting = tokio::spawn(async move {
        let mut failures = 0;
        loop {
            match orders.next(10).await {
                Ok(taken) => return (taken, failures),
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            failures += 1;
            assert!(failures < 100, "it is not asked without pause");
        }
    });
    server.restart().await;
    bus.publish(vec![event("order.created", "a", 1)])
        .await
        .expect("published");
    let (taken, _) = support::soon(waiting).await.expect("no panic");
    assert_eq!(ids(&taken), ["a-1"]);
}

#[tokio::test]
async fn a_batch_larger_than_a_request_goes_in_several() {
    let server = Server::start(None).await;
    let bus = server.bus();
    let large = |number: u32| {
        let mut event = event("order.created", &number.to_string(), number);
        event.data = "x".repeat(900_000).into();
        event
    };
    bus.publish((0..12).map(large).collect())
        .await
        .expect("published");
    let small = (12..1500).map(|number| event("order.created", &number.to_string(), number));
    bus.publish(small.collect()).await.expect("published");
    let orders = join(&bus).await;
    assert_eq!(drain(orders.as_ref()).await.len(), 1500);

    let mut too_large = event("order.created", "a", 1);
    too_large.data = "x".repeat(1024 * 1024).into();
    let refused = bus.publish(vec![too_large]).await;
    assert!(refused.is_err_and(|error| error.is_refusal()));
}

fn token(keyring: &Keyring, service: &str) -> Token {
    let grants = BTreeMap::from([("hub".to_owned(), vec![CALL.to_owned()])]);
    let issuer = Issuer::new(keyring.clone(), service, grants);
    Arc::new(move || Ok(issuer.bearer("hub")?))
}

#[tokio::test]
async fn g10_closed_a_wrong_token_is_refused_and_said_to_be_no_matter_of_time() {
    let keyring = Keyring::generate();
    let server = Server::start(Some(Verifier::new(&keyring, "hub"))).await;
    let (own, types) = (token(&keyring, "orders"), ["order.*".to_owned()]);
    let mine = || event("order.created", "a", 1);
    let strangers = [
        server.client(),
        server
            .client()
            .with_token(token(&Keyring::generate(), "orders")),
        server.client().with_token(token(&keyring, "others")),
    ];
    for stranger in strangers {
        let refused = stranger.subscribe("orders", &types).await.err();
        let refused = refused.expect("it is refused");
        assert!(matches!(refused, Error::Unsuitable { .. }), "{refused:?}");
        assert!(!refused.is_retryable());
        assert!(stranger.publish(vec![mine()]).await.is_err());
    }
    let bus: Arc<dyn Bus> = Arc::new(server.client().with_token(own));
    let orders = join(&bus).await;
    let mut mine = mine();
    mine.source = "orders".to_owned();
    bus.publish(vec![mine]).await.expect("published");
    assert_eq!(drain(orders.as_ref()).await, ["a-1"]);
}

#[tokio::test]
async fn whoever_answers_garbage_is_no_hub() {
    support::real_time();
    let answers: Arc<Mutex<Vec<&str>>> = Arc::default();
    let given = Arc::clone(&answers);
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let routes = Router::new().fallback(move || {
        counted.fetch_add(1, Relaxed);
        let answers = given.lock().expect("no panic");
        let answer = answers.first().copied().unwrap_or("<html>").to_owned();
        async move { answer }
    });
    let listener = env::net::listen(([127, 0, 0, 1], 0).into()).await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("bound");
    let serving = tokio::spawn(serve(listener, routes));
    let bus = HubBus::new(&format!("http://{address}")).expect("a URL");
    let types = ["order.*".to_owned()];
    for garbage in ["<html>", "", "null", "{\"member\":7}", "[[[[[[[["] {
        *answers.lock().expect("no panic") = vec![garbage];
        assert!(bus.subscribe("orders", &types).await.is_err(), "{garbage}");
        assert!(bus.retention().await.is_err(), "{garbage}");
        assert!(bus.groups().await.is_err(), "{garbage}");
    }
    // It lets one in, and gives it nothing that could be read.
    *answers.lock().expect("no panic") = vec![r#"{"member":"m","leaseMs":600000}"#];
    let member = bus.subscribe("orders", &types).await.expect("joined");
    let before = count.load(Relaxed);
    for _ in 0..3 {
        assert!(
            member
                .next(1)
                .await
                .is_err_and(|error| error.is_retryable())
        );
    }
    assert!(count.load(Relaxed) - before < 20, "it is asked with pauses");
    serving.abort();
}

#[test]
fn a_url_that_names_no_hub_is_refused() {
    for wrong in [
        "",
        "hub",
        "ftp://hub",
        "http://",
        "http://hub/bus",
        "http://hub?a=b",
    ] {
        let refused = HubBus::new(wrong).err();
        assert!(matches!(refused, Some(Error::InvalidUrl { .. })), "{wrong}");
    }
}

#[tokio::test]
async fn groups_are_listed_and_one_that_is_no_more_is_forgotten() {
    let server = Server::start(None).await;
    let (client, bus) = (server.client(), server.bus());
    let orders = join(&bus).await;
    bus.publish(vec![event("order.created", "a", 1)])
        .await
        .expect("published");
    let groups = client.groups().await.expect("listed");
    assert_eq!((groups[0].group.as_str(), groups[0].pending), ("orders", 1));
    assert!(client.forget("orders").await.is_err(), "it has a member");
    drop(orders);
    let forgotten = async || client.forget("orders").await.is_ok();
    eventually("it is forgotten", forgotten).await;
    assert!(client.groups().await.expect("listed").is_empty());
    let retention = bus.retention().await.expect("known");
    assert_eq!(retention, Duration::from_secs(7 * 24 * 60 * 60));
}

/// Whoever closes has left before the process ends: nobody waits for its lease.
#[tokio::test]
async fn g8_rolling_closing_leaves_every_group() {
    let server = Server::start(None).await;
    let client = server.client();
    let bus: Arc<dyn Bus> = Arc::new(client.clone());
    let orders = join(&bus).await;
    bus.publish(vec![event("order.created", "a", 1)])
        .await
        .expect("published");
    take(orders.as_ref(), 1).await;
    client.close().await;
    let others: Arc<dyn Bus> = server.bus();
    let begun = env::instant();
    assert_eq!(drain(join(&others).await.as_ref()).await, ["a-1"]);
    assert!(begun.elapsed() < LEASE);
}
