//! A registry that takes its time, or all of it, holds up neither a start nor a call.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use outrigger_discovery::{
    Clients, Error, InProcess, Instance, Registry, Settings, Ttl, registrar, registry::Instances,
};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const SERVICE: &str = "user-service";
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Answers each question after this time.
struct Slow {
    registry: InProcess,
    after: watch::Sender<Duration>,
}

impl Slow {
    async fn answer<T>(&self, answer: BoxFuture<'_, T>) -> T {
        let after = *self.after.borrow();
        env::sleep(after).await;
        answer.await
    }
}

impl Registry for Slow {
    fn register(&self, instance: Instance) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.answer(self.registry.register(instance)))
    }

    fn heartbeat<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.answer(self.registry.heartbeat(id)))
    }

    fn deregister<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.answer(self.registry.deregister(id)))
    }

    /// Says nothing until it answers at once.
    fn watch(&self, service: &str) -> watch::Receiver<Instances> {
        let (told, seen) = watch::channel(Instances::default());
        let (mut known, mut after) = (self.registry.watch(service), self.after.subscribe());
        tokio::spawn(async move {
            if after.wait_for(Duration::is_zero).await.is_err() {
                return;
            }
            loop {
                told.send_replace(known.borrow_and_update().clone());
                if known.changed().await.is_err() {
                    return;
                }
            }
        });
        seen
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        Box::pin(self.answer(self.registry.services()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_registry_holds_up_neither_a_start_nor_a_call_and_is_caught_up_with() {
    let slow = Arc::new(Slow {
        registry: InProcess::new(Ttl::default()),
        after: watch::Sender::new(Duration::from_secs(3_600)),
    });
    let begun = env::instant();
    let instance = Instance::new(SERVICE, ([127, 0, 0, 1], 1).into());
    let registration = registrar::register(slow.clone(), instance, HEARTBEAT).await;
    let registration = registration.expect("a slow registry is no refusal");
    assert!(begun.elapsed() < Duration::from_secs(10), "it starts");
    let leave = CancellationToken::new();
    let kept = tokio::spawn(registration.keep(leave.clone()));

    let begun = env::instant();
    let client = Clients::new(slow.clone(), None).client(SERVICE);
    let error = client.get::<Value>("/users/{id}", &[&"ada"]).await;
    let error = error.expect_err("nobody is known");
    assert!(matches!(error, Error::NoInstances { .. }), "{error}");
    let patience = Settings::default().first_word;
    assert!((patience..patience * 2).contains(&begun.elapsed()));

    let mut known = slow.watch(SERVICE);
    slow.after.send_replace(Duration::ZERO);
    let quick = env::instant();
    let there = known.wait_for(|instances| instances.len() == 1).await;
    there.expect("it lives");
    assert!(
        quick.elapsed() <= 2 * HEARTBEAT,
        "it is asked again and again"
    );

    slow.after.send_replace(Duration::from_secs(3_600));
    let begun = env::instant();
    leave.cancel();
    kept.await.expect("ended");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "nor does it hold up the end"
    );
}
