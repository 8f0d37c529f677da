//! The breaker of a service as a whole, beside those of its instances.

mod server;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use outrigger_discovery::{
    Clients, Configuration, Error, Policies, Protected, Settings, StaticList,
};
use resilience::{breaker, observe::Decision};
use tokio::io::AsyncWriteExt;

use crate::server::{SERVICE, client_with, echo, hangs_up, instances, nobody, serve, user};

/// Each instance is patient, the service is not.
fn settings(failures: u32) -> Settings {
    let patient = breaker::Settings {
        failures: u32::MAX,
        rate: None,
        ..breaker::Settings::default()
    };
    let mut settings = Settings {
        service_breaker: Some(breaker::Settings {
            failures,
            recovery: Duration::from_secs(60),
            recovery_limit: Duration::from_secs(60),
            ..patient.clone()
        }),
        breaker: patient,
        outlier: None,
        ..Settings::default()
    };
    settings.policy.retry = None;
    settings
}

#[tokio::test]
async fn a_service_whose_instances_all_fail_is_left_alone_before_each_of_them_is() {
    let asked = Arc::new(AtomicUsize::new(0));
    let mut addresses = Vec::new();
    for _ in 0..10 {
        addresses.push(hangs_up(&asked).await);
    }
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let observer = move |name: &str, decision: &Decision| {
        let of = Protected::of(name);
        let instance = of.instance.map(str::to_owned);
        let told = (of.service.to_owned(), instance, decision.name());
        heard.lock().expect("unpoisoned").push(told);
    };
    let policies = Policies {
        settings: settings(8),
        ..Policies::default()
    };
    let configuration = Configuration {
        observer: Some(Arc::new(observer)),
        ..Configuration::fixed(policies)
    };
    let registry = Arc::new(StaticList::new(instances(&addresses)));
    let client = Clients::configured(registry, None, configuration).client(SERVICE);
    for _ in 0..20 {
        assert!(user(&client).await.is_err());
    }
    let refused = user(&client).await;
    assert!(
        matches!(refused, Err(Error::CircuitOpen { retry_after, .. }) if retry_after > Duration::from_secs(30)),
        "{refused:?}"
    );
    assert_eq!(asked.load(Ordering::Relaxed), 8);
    let told = told.lock().expect("unpoisoned");
    let opened = (SERVICE.to_owned(), None, "breaker-opened");
    assert_eq!(told.iter().filter(|told| **told == opened).count(), 1);
    assert!(told.contains(&(SERVICE.to_owned(), None, "breaker-refused")));
}

#[tokio::test]
async fn instances_that_are_passed_over_do_not_count_against_the_service() {
    let mut addresses = vec![serve(echo()).await];
    for _ in 0..9 {
        addresses.push(nobody().await);
    }
    let client = client_with(&addresses, settings(2));
    for _ in 0..20 {
        assert!(
            user(&client)
                .await
                .expect("the one that is there")
                .is_some()
        );
    }
}

/// Answers every connection with what is no HTTP.
async fn garbage() -> SocketAddr {
    let mut listener = env::net::listen(([127, 0, 0, 1], 0).into())
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream
                .write_all(b"\x16\x03\x01 hello, who is there?\r\n\r\n")
                .await;
        }
    });
    address
}

#[tokio::test]
async fn an_instance_that_answers_garbage_costs_no_call_and_is_left_alone() {
    let addresses = [garbage().await, serve(echo()).await];
    let client = client_with(&addresses, Settings::default());
    for _ in 0..50 {
        assert!(user(&client).await.expect("from the other").is_some());
    }
    let alone = client_with(&addresses[..1], Settings::default());
    for _ in 0..10 {
        let failed = user(&alone).await.expect_err("it makes no sense");
        assert!(
            matches!(failed, Error::Transport { .. } | Error::CircuitOpen { .. }),
            "{failed:?}"
        );
    }
    assert!(matches!(user(&alone).await, Err(Error::CircuitOpen { .. })));
}
