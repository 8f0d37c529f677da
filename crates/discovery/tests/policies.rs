//! What the layers of a call do, seen from outside: second attempts and their budget, what is turned off for one call,
//! who is left out, and what is told of it.

mod server;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use env::RequestContext;
use outrigger_discovery::{
    Clients, Configuration, Error, Instance, Policies, Policy, Registry, Settings, StaticList,
    balance::Strategy, health, outlier,
};
use resilience::{breaker, bulkhead, observe::Decision, retry};
use serde_json::Value;

use crate::server::{SERVICE, answer, client_with, echo, instances, serve, until, user};

/// Answers so, and counts.
async fn counted(status: StatusCode) -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let answer = move || {
        count.fetch_add(1, Ordering::Relaxed);
        async move { status }
    };
    let routes = Router::new().route("/users/{id}", get(answer.clone()).post(answer));
    (serve(routes).await, asked)
}

/// A breaker that does not open, so that what else there is can be seen.
fn no_breaker() -> breaker::Settings {
    breaker::Settings {
        failures: u32::MAX,
        rate: None,
        ..breaker::Settings::default()
    }
}

#[tokio::test]
async fn a_refusal_is_asked_again_once_and_only_where_that_does_no_harm() {
    let (address, asked) = counted(StatusCode::SERVICE_UNAVAILABLE).await;
    let client = client_with(&[address], Settings::default());
    assert!(user(&client).await.is_err());
    assert_eq!(asked.swap(0, Ordering::Relaxed), 2);
    let posted = client.post::<_, Value>("/users/{id}", &[&"ada"], &());
    assert!(posted.await.is_err());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_second_attempt_waits_as_long_as_the_service_asks() {
    let first = Arc::new(AtomicBool::new(true));
    let answer = move || {
        let first = first.swap(false, Ordering::Relaxed);
        async move {
            match first {
                true => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    [(header::RETRY_AFTER, "1")],
                    "",
                )
                    .into_response(),
                false => "1".into_response(),
            }
        }
    };
    let address = serve(Router::new().route("/users/{id}", get(answer))).await;
    let begun = env::instant();
    let user = user(&client_with(&[address], Settings::default())).await;
    assert!(user.is_ok_and(|user| user == Some(Value::from(1))));
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn g9_an_outage_is_not_multiplied_by_retries() {
    let (address, asked) = counted(StatusCode::SERVICE_UNAVAILABLE).await;
    let settings = Settings {
        breaker: no_breaker(),
        service_breaker: None,
        budget: retry::budget::Settings {
            least: 0,
            ..retry::budget::Settings::default()
        },
        ..Settings::default()
    };
    let client = client_with(&[address], settings);
    for _ in 0..200 {
        assert!(user(&client).await.is_err());
    }
    let asked = asked.load(Ordering::Relaxed);
    assert!(
        (220..=240).contains(&asked),
        "{asked} for 200 calls: a fifth more"
    );
}

/// As go-zero #3580 asks for: what protects a service can be turned off for one call.
#[tokio::test]
async fn a_policy_can_be_turned_off_for_one_call() {
    let (address, asked) = counted(StatusCode::SERVICE_UNAVAILABLE).await;
    let off = Policy {
        retry: None,
        breaker: false,
        ..Policy::default()
    };
    let settings = Settings {
        calls: BTreeMap::from([("GET /users/{id}".to_owned(), off)]),
        ..Settings::default()
    };
    let client = client_with(&[address], settings);
    for _ in 0..20 {
        let error = user(&client).await.expect_err("it refuses");
        assert!(
            matches!(error, Error::Problem { .. }),
            "no breaker: {error}"
        );
    }
    assert_eq!(asked.load(Ordering::Relaxed), 20, "no second attempts");
    for _ in 0..5 {
        let posted = client.post::<_, Value>("/users/{id}", &[&"ada"], &());
        assert!(posted.await.is_err());
    }
    let posted = client.post::<_, Value>("/users/{id}", &[&"ada"], &()).await;
    assert!(
        matches!(posted, Err(Error::CircuitOpen { .. })),
        "other calls have one"
    );
}

#[tokio::test]
async fn a_bulkhead_bounds_the_calls_under_way() {
    let asked = Arc::new(AtomicBool::new(false));
    let begun = Arc::clone(&asked);
    let never = move || {
        begun.store(true, Ordering::Relaxed);
        async { std::future::pending::<()>().await }
    };
    let address = serve(Router::new().route("/users/{id}", get(never))).await;
    let settings = Settings {
        policy: Policy {
            bulkhead: Some(bulkhead::Settings {
                concurrent: 1,
                waiting: 0,
                ..bulkhead::Settings::default()
            }),
            ..Policy::default()
        },
        ..Settings::default()
    };
    let client = client_with(&[address], settings);
    let first = client.clone();
    let first = tokio::spawn(async move { user(&first).await });
    until(|| async { asked.load(Ordering::Relaxed) }).await;
    let error = user(&client).await.expect_err("one too many");
    assert!(matches!(error, Error::Overloaded { .. }));
    first.abort();
}

/// One of three fails every call; what it does to the others.
async fn one_of_three_fails(settings: Settings) -> (usize, usize, Vec<String>) {
    let (broken, asked) = counted(StatusCode::INTERNAL_SERVER_ERROR).await;
    let addresses = [serve(echo()).await, broken, serve(echo()).await];
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let observer = move |name: &str, decision: &Decision| {
        let told = format!(
            "{} {}",
            name.split(' ').next().unwrap_or(""),
            decision.name()
        );
        heard.lock().expect("unpoisoned").push(told);
    };
    let registry = Arc::new(StaticList::new(instances(&addresses)));
    let policies = Policies {
        settings,
        ..Policies::default()
    };
    let configuration = Configuration {
        observer: Some(Arc::new(observer)),
        ..Configuration::fixed(policies)
    };
    let client = Clients::configured(registry, None, configuration).client(SERVICE);
    let mut failed = 0;
    for _ in 0..200 {
        failed += usize::from(user(&client).await.is_err());
    }
    let told = told.lock().expect("unpoisoned").clone();
    (failed, asked.load(Ordering::Relaxed), told)
}

/// A service that sheds load, or that cannot reach what it needs itself, is not broken: its other calls go on.
#[tokio::test]
async fn g9_a_refusal_opens_no_breaker() {
    for (status, after) in [
        (StatusCode::SERVICE_UNAVAILABLE, Some("0")),
        (StatusCode::TOO_MANY_REQUESTS, None),
        (StatusCode::BAD_GATEWAY, None),
        (StatusCode::GATEWAY_TIMEOUT, None),
    ] {
        let refuses = async move || {
            let mut answer = status.into_response();
            if let Some(after) = after {
                answer
                    .headers_mut()
                    .insert(header::RETRY_AFTER, after.parse().expect("a number"));
            }
            answer
        };
        let routes = echo().route("/orders", get(refuses));
        let client = client_with(&[serve(routes).await], Settings::default());
        for _ in 0..50 {
            let refused = client.get::<Value>("/orders", &[]).await;
            let refused = refused.expect_err("it refuses");
            assert!(!matches!(refused, Error::CircuitOpen { .. }), "{refused}");
        }
        user(&client).await.expect("it is not broken");
    }
}

/// Callers that wait for less than the deadline never see an instance fail that hangs; but they see how long it takes.
#[tokio::test]
async fn one_that_hangs_is_avoided_however_impatient_the_callers_are() {
    let hangs = Router::new().route("/users/{id}", get(std::future::pending::<()>));
    let client = client_with(
        &[serve(hangs).await, serve(echo()).await],
        Settings::default(),
    );
    let mut given_up = 0;
    for _ in 0..60 {
        given_up += u32::from(
            env::timeout(Duration::from_millis(100), user(&client))
                .await
                .is_err(),
        );
    }
    assert!(
        given_up <= 10,
        "{given_up} of 60 calls went to the one that hangs"
    );
}

#[tokio::test]
async fn g7_one_that_fails_more_than_the_others_is_left_out() {
    let settings = Settings {
        breaker: no_breaker(),
        strategy: Strategy::RoundRobin,
        ..Settings::default()
    };
    let (failed, asked, told) = one_of_three_fails(settings).await;
    assert_eq!((failed, asked), (5, 5), "five in a row");
    assert_eq!(told, ["user-service ejected"]);
}

#[tokio::test]
async fn leaving_out_can_be_turned_off_and_is_bounded() {
    for most in [None, Some(0.3)] {
        let outlier = most.map(|most| outlier::Settings {
            most,
            ..outlier::Settings::default()
        });
        let settings = Settings {
            breaker: no_breaker(),
            outlier,
            strategy: Strategy::RoundRobin,
            ..Settings::default()
        };
        let (failed, _, told) = one_of_three_fails(settings).await;
        assert!(failed > 20 && told.is_empty(), "{failed} failed, {told:?}");
    }
}

#[tokio::test]
async fn g7_one_that_is_draining_gets_nothing_new() {
    let addresses = [serve(echo()).await, serve(echo()).await];
    let mut all: Vec<_> = instances(&addresses).collect();
    all[0].draining = true;
    let registry = Arc::new(StaticList::new(all));
    let clients = Clients::new(registry, None);
    for _ in 0..50 {
        let picked = clients.upstream(SERVICE).pick(None).expect("one is there");
        assert_eq!(picked.address, addresses[1]);
    }
    let leaving = Instance::new(SERVICE, addresses[0]).draining();
    let clients = Clients::new(Arc::new(StaticList::new([leaving])), None);
    let error = user(&clients.client(SERVICE)).await.expect_err("nobody");
    assert!(matches!(error, Error::NoInstances { .. }));
}

#[tokio::test]
async fn calls_stay_in_the_zone_as_long_as_enough_are_well_there() {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let near = |port| Instance::new(SERVICE, address(port)).zone("a");
    let far = |port| Instance::new(SERVICE, address(port)).zone("b");
    let settings = || Settings {
        zone: Some("a".to_owned()),
        ..Settings::default()
    };
    let stayed = |instances: Vec<Instance>| {
        let registry = Arc::new(StaticList::new(instances));
        let upstream = Clients::with_settings(registry, None, settings()).upstream(SERVICE);
        let picks = (0..2_000).filter_map(move |_| upstream.pick(None));
        picks
            .filter(|picked| picked.zone.as_deref() == Some("a"))
            .count()
    };
    assert_eq!(stayed(vec![far(1), near(2), far(3), near(4)]), 2_000);
    // Half of them take 1.4 times their share: 70%.
    let half = vec![far(1), near(2), far(3), near(4).draining()];
    let half = stayed(half);
    assert!((1_250..1_550).contains(&half), "{half} of 2,000");
    assert_eq!(stayed(vec![far(1), near(2).draining()]), 0);
    assert_eq!(stayed(vec![near(1)]), 2_000);
}

#[tokio::test]
async fn g7_one_that_says_that_it_is_unwell_is_left_out_until_it_is_well() {
    let well = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&well);
    let health = move || {
        let well = says.load(Ordering::Relaxed);
        async move { well.then_some(()).ok_or(StatusCode::SERVICE_UNAVAILABLE) }
    };
    let fine = || async {};
    let addresses = [
        serve(echo().route("/health", get(health))).await,
        serve(echo().route("/health", get(fine))).await,
        serve(echo().route("/health", get(fine))).await,
    ];
    let settings = Settings {
        health: Some(health::Settings {
            every: Duration::from_millis(10),
            ..health::Settings::default()
        }),
        ..Settings::default()
    };
    let registry = Arc::new(StaticList::new(instances(&addresses)));
    let upstream = Clients::with_settings(registry, None, settings).upstream(SERVICE);
    let picked = || {
        let picks = (0..200).filter_map(|_| upstream.pick(None));
        picks
            .filter(|picked| picked.address == addresses[0])
            .count()
    };
    until(|| async { picked() == 0 }).await;
    well.store(true, Ordering::Relaxed);
    until(|| async { picked() > 0 }).await;
}

/// Those that leave are no reason to leave out all that stay.
#[tokio::test]
async fn where_all_that_stay_are_unwell_they_are_used_whoever_is_leaving() {
    let asked = Arc::new(AtomicUsize::new(0));
    let unwell = || {
        let asked = Arc::clone(&asked);
        let health = async move || {
            asked.fetch_add(1, Ordering::Relaxed);
            StatusCode::SERVICE_UNAVAILABLE
        };
        echo().route("/health", get(health))
    };
    let staying = [serve(unwell()).await, serve(unwell()).await];
    let leaving = [serve(echo()).await, serve(echo()).await];
    let leaving = leaving.map(|address| Instance::new(SERVICE, address).draining());
    let settings = Settings {
        health: Some(health::Settings {
            every: Duration::from_millis(10),
            ..health::Settings::default()
        }),
        ..Settings::default()
    };
    let registry = StaticList::new(instances(&staying).chain(leaving));
    let client = Clients::with_settings(Arc::new(registry), None, settings).client(SERVICE);
    let asked_often = || asked.load(Ordering::Relaxed) >= 20;
    until(|| async {
        user(&client).await.expect("rather an unwell one than none");
        asked_often()
    })
    .await;
}

#[tokio::test]
async fn a_new_one_warms_up() {
    let registry = outrigger_discovery::InProcess::new(outrigger_discovery::Ttl::default());
    let instance = |port: u16| Instance::new(SERVICE, ([127, 0, 0, 1], port).into());
    registry.register(instance(1)).await.expect("registered");
    let upstream = Clients::new(Arc::new(registry.clone()), None).upstream(SERVICE);
    registry.register(instance(2)).await.expect("registered");
    let picks = (0..1_000).filter_map(|_| upstream.pick(None));
    let new = picks.filter(|picked| picked.address.port() == 2).count();
    assert!(
        (1..300).contains(&new),
        "{new} of 1,000 in its first moment"
    );
}

/// Spring Cloud Gateway #3978: an error whose body comes slowly, or never, holds a connection. Whoever gives the body
/// up gives the connection up, whatever the breaker thinks by then.
#[tokio::test]
async fn slow_bodies_of_errors_leak_no_connections() {
    let open = Arc::new(AtomicUsize::new(0));
    let mut listener = env::net::listen(([127, 0, 0, 1], 0).into())
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    let endless = || async {
        let body = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        (StatusCode::INTERNAL_SERVER_ERROR, body)
    };
    let routes = Router::new().route("/users/{id}", get(endless));
    let connections = Arc::clone(&open);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::Relaxed);
            let (routes, connections) = (routes.clone(), Arc::clone(&connections));
            tokio::spawn(async move {
                answer(stream, routes).await;
                connections.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    let client = client_with(&[address], Settings::default());
    let mut refused = 0;
    for _ in 0..20 {
        let call = RequestContext::new().within(Duration::from_millis(20));
        match call.scope(user(&client)).await {
            Err(Error::DeadlineExceeded { .. }) => {}
            Err(Error::CircuitOpen { .. }) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0, "the breaker has opened");
    until(|| async { open.load(Ordering::Relaxed) == 0 }).await;
}
