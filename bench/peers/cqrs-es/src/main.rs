//! Appends by `cqrs-es` with `postgres-es`: prints how many a second. The table is there already.
//!
//! It is asked for no more than Outrigger is beside it: to write one event with the version that the writer expects.
//! Nothing is loaded before, no command is handled, and no query is told.

use std::{
    env,
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cqrs_es::{
    Aggregate, DomainEvent,
    event_sink::EventSink,
    persist::{PersistedEventRepository, SerializedEvent},
};
use postgres_es::{PostgresEventRepository, default_postgress_pool};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a failed command says; there are none here.
#[derive(Debug)]
struct Never;

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no command was given")
    }
}

impl Error for Never {}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Deposited;

impl DomainEvent for Deposited {
    fn event_type(&self) -> String {
        "Deposited".to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Account;

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = ();
    type Event = Deposited;
    type Error = Never;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), _: &EventSink<Self>) -> Result<(), Never> {
        Err(Never)
    }

    fn apply(&mut self, _: Deposited) {}
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, writers, seconds, payload] = arguments.as_slice() else {
        return Err("URL, writers, seconds and the data of an event are expected".into());
    };
    let (writers, seconds): (usize, f64) = (writers.parse()?, seconds.parse()?);
    let payload: Value = serde_json::from_str(payload)?;
    let pool = default_postgress_pool(url).await; // 10 connections, as many as Outrigger has
    let repository = Arc::new(PostgresEventRepository::new(pool));
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let time = Duration::from_secs_f64(seconds);
    let work: Vec<_> = (0..writers)
        .map(|writer| {
            let (repository, done) = (Arc::clone(&repository), Arc::clone(&done));
            let payload = payload.clone();
            tokio::spawn(async move {
                let mut version = 0;
                while started.elapsed() < time {
                    version += 1;
                    let event = SerializedEvent::new(
                        format!("account-{writer}"),
                        version,
                        Account::TYPE.to_owned(),
                        Deposited.event_type(),
                        Deposited.event_version(),
                        payload.clone(),
                        json!({}),
                    );
                    repository.persist::<Account>(&[event], None).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, cqrs_es::persist::PersistenceError>(())
            })
        })
        .collect();
    for writer in work {
        writer.await??;
    }
    println!(
        "{}",
        done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
    );
    Ok(())
}
