//! What one process does until it is killed.

use std::{
    fs::{File, OpenOptions},
    future::ready,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use outrigger::{
    data::{Database, params},
    env::{self, BoxError},
    events::{
        Bus, DeadLetters, EmbeddedBus, Event, Handlers, NatsBus, Publish,
        consumer::{self, Outcome},
        dead_letters::Filter,
        nats, relay,
    },
    futures,
};
use tokio_util::sync::CancellationToken;

use crate::{
    counting::{self, Counted, KEYS},
    trouble::{MAX_DELIVERIES, Trouble},
};

/// Transactions that the publisher has under way at once.
const PUBLISHING: usize = 8;
const GROUP: &str = "counters";
/// How often the operator looks for dead letters.
const REPLAY_EVERY: Duration = Duration::from_millis(100);

/// One process.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    /// What it does; all of it when they are parts of one process.
    pub(crate) parts: Vec<Part>,
    /// The database that is counted in.
    pub(crate) publisher: String,
    /// The database that it is noted in.
    pub(crate) consumer: String,
    /// The bus.
    pub(crate) bus: String,
    /// The folder of the ledgers.
    pub(crate) ledgers: PathBuf,
}

/// A part of the way of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Counts.
    Publisher,
    /// Brings what was counted to the bus.
    Relay,
    /// Notes it.
    Consumer,
    /// Has what could not be noted tried again.
    Operator,
}

impl Part {
    pub(crate) const ALL: [Self; 4] =
        [Self::Publisher, Self::Relay, Self::Consumer, Self::Operator];

    fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Relay => "relay",
            Self::Consumer => "consumer",
            Self::Operator => "operator",
        }
    }
}

impl Role {
    /// The role that the arguments of a child name; `None` for the parent.
    pub(crate) fn parse(arguments: &[String]) -> Option<Self> {
        let [mark, parts, publisher, consumer, bus, ledgers] = arguments else {
            return None;
        };
        (mark == "--role").then(|| Self {
            parts: Part::ALL
                .into_iter()
                .filter(|part| parts.split(',').any(|name| name == part.name()))
                .collect(),
            publisher: publisher.clone(),
            consumer: consumer.clone(),
            bus: bus.clone(),
            ledgers: ledgers.into(),
        })
    }

    /// What [`parse`](Self::parse) reads.
    pub(crate) fn arguments(&self) -> Vec<String> {
        vec![
            "--role".to_owned(),
            self.name(),
            self.publisher.clone(),
            self.consumer.clone(),
            self.bus.clone(),
            self.ledgers.display().to_string(),
        ]
    }

    /// Its parts, for people.
    pub(crate) fn name(&self) -> String {
        let names: Vec<_> = self.parts.iter().map(|part| part.name()).collect();
        names.join(",")
    }

    /// Does it, until killed.
    pub(crate) async fn play(self) -> Result<(), BoxError> {
        let bus = connect(&self.bus).await?;
        let mut work = tokio::task::JoinSet::new();
        for part in self.parts.clone() {
            let (role, bus) = (self.clone(), Arc::clone(&bus));
            work.spawn(async move {
                match part {
                    Part::Publisher => role.publish().await,
                    Part::Relay => role.relay(bus).await,
                    Part::Consumer => role.consume(bus).await,
                    Part::Operator => role.operate().await,
                }
            });
        }
        while let Some(ended) = work.join_next().await {
            ended??;
        }
        Ok(())
    }

    async fn publish(self) -> Result<(), BoxError> {
        let db = open(&self.publisher, "publisher").await?;
        let counting = (0..PUBLISHING).map(|_| {
            let (db, ledgers) = (db.clone(), self.ledgers.clone());
            tokio::spawn(async move {
                let mut ledger = append(&ledgers.join("acknowledged"))?;
                loop {
                    let key = counting::key(env::random().below(KEYS));
                    match count(&db, &key).await {
                        // One write a line, which the system keeps whole.
                        Ok(count) => ledger.write_all(format!("{key} {count}\n").as_bytes())?,
                        // Somebody else counts this key, or the server is away: it is not acknowledged.
                        Err(_) => env::sleep(Duration::from_millis(5)).await,
                    }
                }
            })
        });
        let ended: Result<Result<(), BoxError>, _> = futures::future::select_all(counting).await.0;
        ended?
    }

    async fn relay(self, bus: Arc<dyn Bus>) -> Result<(), BoxError> {
        let db = open(&self.publisher, "publisher").await?;
        relay::run(db, bus, relay::Options::default(), CancellationToken::new()).await;
        Ok(())
    }

    async fn consume(self, bus: Arc<dyn Bus>) -> Result<(), BoxError> {
        let db = open(&self.consumer, "consumer").await?;
        let ledger = append(&self.ledgers.join("delivered"))?;
        let options = consumer::Options {
            observer: Some(Arc::new(move |processed| {
                let mark: &[u8] = match processed.outcome {
                    Outcome::Handled => b"h",
                    Outcome::Duplicate => b"d",
                    Outcome::Held => b"w",
                    Outcome::Retried => b"r",
                    Outcome::DeadLettered => b"x",
                    Outcome::Expired => b"e",
                };
                // The figures are for people; a full disk shows elsewhere.
                let _ = (&ledger).write_all(mark);
            })),
            max_deliveries: MAX_DELIVERIES,
            ..consumer::Options::default()
        };
        let trouble = Arc::new(Trouble::default());
        let prepare = move |counted: Counted, _| {
            let fails = trouble.strikes(&counted.key, counted.count);
            ready(Ok(fails))
        };
        let handlers = Handlers::new().on_prepared(prepare, counting::note);
        let stop = CancellationToken::new();
        Ok(consumer::run(db, bus, GROUP, handlers, options, stop).await?)
    }

    /// Replays every dead letter, as soon as there is one.
    async fn operate(self) -> Result<(), BoxError> {
        let dead_letters = DeadLetters::of(&open(&self.consumer, "consumer").await?);
        loop {
            // The server is away, or the consumer has not made its tables yet: then it is tried again.
            let _ = dead_letters.replay(&Filter::kind(Counted::TYPE)).await;
            env::sleep(REPLAY_EVERY).await;
        }
    }
}

/// Counts, and tells of it, in one transaction.
async fn count(db: &Database, key: &str) -> Result<i64, BoxError> {
    let mut tx = db.begin().await?;
    let up = "UPDATE counts SET count = count + 1 WHERE key = $1 RETURNING count";
    let row = tx.query_one(up, params![key]).await?;
    let count = row.ok_or("a key that was not prepared")?.get("count")?;
    tx.publish(Counted {
        key: key.to_owned(),
        count,
    })?;
    tx.commit().await?;
    Ok(count)
}

/// The server may just be starting again.
async fn open(url: &str, owner: &str) -> Result<Database, BoxError> {
    let mut tries = 0;
    loop {
        match Database::open(url).await {
            Ok(db) => return Ok(db.owned_by(owner)),
            Err(error) if tries == 100 => return Err(error.into()),
            Err(_) => tries += 1,
        }
        env::sleep(Duration::from_millis(100)).await;
    }
}

async fn connect(url: &str) -> Result<Arc<dyn Bus>, BoxError> {
    if url.starts_with("sqlite:") {
        return Ok(Arc::new(EmbeddedBus::open(url).await?));
    }
    Ok(Arc::new(
        NatsBus::connect(url, nats::Options::default()).await?,
    ))
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
