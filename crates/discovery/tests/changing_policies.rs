//! Policies that change while calls are made hold from the next call on; what was learned of the instances stays.

mod server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use outrigger_discovery::{
    Clients, Configuration, Error, Policies, Settings, StaticList, balance::Strategy,
};
use resilience::breaker;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use crate::server::{SERVICE, echo, hangs_up, instances, serve, until, user};

fn all(settings: Settings) -> Arc<Policies> {
    Arc::new(Policies {
        settings,
        ..Policies::default()
    })
}

/// Clients of the instances at `addresses`, and what changes their policies.
fn following(
    addresses: &[std::net::SocketAddr],
    settings: Settings,
) -> (Clients, watch::Sender<Arc<Policies>>) {
    let sender = watch::Sender::new(all(settings));
    let configuration = Configuration {
        policies: sender.subscribe(),
        observer: None,
        metrics: None,
    };
    let registry = Arc::new(StaticList::new(instances(addresses)));
    (Clients::configured(registry, None, configuration), sender)
}

fn without_retries() -> Settings {
    let mut settings = Settings {
        service_breaker: None,
        ..Settings::default()
    };
    settings.policy.retry = None;
    settings
}

#[tokio::test]
async fn another_policy_holds_from_the_next_call_on() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let refuse = move || {
        count.fetch_add(1, Ordering::Relaxed);
        async { StatusCode::TOO_MANY_REQUESTS }
    };
    let address = serve(Router::new().route("/users/{id}", get(refuse))).await;
    let (clients, policies) = following(&[address], without_retries());
    let client = clients.client(SERVICE);
    assert!(user(&client).await.is_err());
    assert_eq!(asked.swap(0, Ordering::Relaxed), 1);

    let mut settings = Settings::default();
    if let Some(retry) = &mut settings.policy.retry {
        retry.attempts = 3;
    }
    policies.send_replace(all(settings));
    assert!(user(&client).await.is_err());
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn an_instance_that_was_left_alone_is_left_alone_under_another_strategy_too() {
    let asked = Arc::new(AtomicUsize::new(0));
    let broken = hangs_up(&asked).await;
    let works = serve(echo()).await;
    let mut settings = without_retries();
    settings.breaker = breaker::Settings {
        failures: 1,
        recovery: Duration::from_secs(60),
        recovery_limit: Duration::from_secs(60),
        ..breaker::Settings::default()
    };
    let (clients, policies) = following(&[broken, works], settings.clone());
    let client = clients.client(SERVICE);
    until(|| async { user(&client).await.is_err() }).await;
    asked.store(0, Ordering::Relaxed);

    settings.strategy = Strategy::RoundRobin;
    policies.send_replace(all(settings.clone()));
    for _ in 0..10 {
        assert!(user(&client).await.is_ok());
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0, "its breaker stayed open");

    settings.breaker.failures = 2;
    policies.send_replace(all(settings));
    until(|| async { user(&client).await.is_err() }).await;
    assert!(
        asked.load(Ordering::Relaxed) > 0,
        "a breaker with other settings begins closed"
    );
}

#[tokio::test]
async fn a_call_under_way_ends_as_it_began() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, wait) = (Arc::clone(&begun), Arc::clone(&go));
    let slow = move || {
        let (told, wait) = (Arc::clone(&told), Arc::clone(&wait));
        async move {
            told.notify_one();
            wait.notified().await;
            "1"
        }
    };
    let address = serve(Router::new().route("/users/{id}", get(slow))).await;
    let (clients, policies) = following(&[address], Settings::default());
    let client = clients.client(SERVICE);
    let (caller, other) = (client.clone(), client.clone());
    let under_way = tokio::spawn(async move { user(&caller).await });
    begun.notified().await;

    let mut settings = Settings::default();
    settings.policy.deadline = Duration::from_millis(20);
    policies.send_replace(all(settings));
    let late = user(&other).await;
    assert!(
        matches!(late, Err(Error::DeadlineExceeded { .. })),
        "{late:?}"
    );
    go.notify_waiters();
    let answered = under_way.await.expect("it ends").expect("with an answer");
    assert_eq!(answered, Some(Value::from(1)));
}
