//! From published to handled, on the embedded bus and on NATS, beside a loop on NATS that guarantees less.
//!
//! Whoever takes an event has it on its disk before saying so, on all sides.

mod alone;
mod bare_nats;
mod traffic;
mod whole;

use std::{collections::BTreeMap, sync::Arc};

use events::{EmbeddedBus, NatsBus, nats};
use servers::{Nats, Postgres, postgres};

use self::traffic::{Load, Measured};
use crate::{Result, report::Case, rounds::median};

/// At so many a second nothing waits for what came before it, and latency is that of the way itself.
const STEADY: u32 = 100;

/// Connections of each service to PostgreSQL: those who commit at the same time share a sync.
const CONNECTIONS: u32 = 32;

const BARE: &str = "async-nats: publish, pull, ack";

/// A way from who publishes to who handles.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// The peer of all.
    Bare,
    NatsAlone,
    NatsWhole,
    EmbeddedAlone,
    EmbeddedWhole,
}

impl Way {
    const ALL: [Self; 5] = [
        Self::Bare,
        Self::NatsAlone,
        Self::NatsWhole,
        Self::EmbeddedAlone,
        Self::EmbeddedWhole,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Bare => BARE,
            Self::NatsAlone => "NATS: published to acknowledged",
            Self::NatsWhole => "NATS: transaction to handled",
            Self::EmbeddedAlone => "embedded: published to acknowledged",
            Self::EmbeddedWhole => "embedded: transaction to handled",
        }
    }

    /// How it is durable; the peer is on a NATS server that is set as ours.
    fn settings(self) -> &'static str {
        match self {
            Self::Bare | Self::NatsAlone => "file storage, sync_interval=always",
            Self::NatsWhole => {
                "file storage, sync_interval=always; PostgreSQL fsync=on, synchronous_commit=on, 32 connections a service"
            }
            Self::EmbeddedAlone | Self::EmbeddedWhole => {
                "WAL, synchronous=FULL; the peer: file storage, sync_interval=always"
            }
        }
    }
}

struct Servers {
    nats: Nats,
    postgres: Postgres,
}

pub async fn run(quick: bool) -> Result<Vec<Case>> {
    let (rounds, many, seconds) = if quick { (1, 2_000, 2) } else { (3, 5_000, 5) };
    let full = Load::full(many);
    let steady = Load::steady(STEADY, seconds);
    let durable = servers::nats::Options {
        sync_always: true,
        ..servers::nats::Options::default()
    };
    let servers = Servers {
        nats: Nats::start(durable).await?,
        postgres: Postgres::start_with(postgres::Options::new().fsync()).await?,
    };
    let mut rates: BTreeMap<Way, Vec<f64>> = BTreeMap::new();
    let mut latencies = rates.clone();
    // By turns, so that a disk that is slower for a while is so for all.
    for round in 0..rounds {
        for way in Way::ALL {
            let name = |load: &str| format!("{load}_{}_{round}", way as u8);
            let found = measure(&servers, way, &name("full"), full).await?;
            rates.entry(way).or_default().push(found.rate);
            let found = measure(&servers, way, &name("steady"), steady).await?;
            latencies.entry(way).or_default().push(found.p99);
        }
    }
    let mut found = |way| {
        let median_of = |of: &mut BTreeMap<_, _>| median(of.remove(&way).unwrap_or_default());
        (median_of(&mut rates), median_of(&mut latencies))
    };
    let (bare_rate, bare_p99) = found(Way::Bare);
    let mut cases = Vec::new();
    for way in Way::ALL.into_iter().skip(1) {
        let (name, settings) = (way.name(), way.settings());
        let (rate, p99) = found(way);
        cases.push(Case::rate(name, rate, BARE, bare_rate, settings));
        let name = format!("{name}, p99 at {STEADY} a second");
        cases.push(Case::cost(&name, "ms", p99, BARE, bare_p99, settings));
    }
    Ok(cases)
}

/// On a bus and databases of its own, which have this name.
async fn measure(servers: &Servers, way: Way, name: &str, load: Load) -> Result<Measured> {
    let nats = async || {
        let options = nats::Options {
            stream: name.to_owned(),
            ..nats::Options::default()
        };
        let bus = NatsBus::connect(&servers.nats.url(), options).await?;
        Ok::<_, crate::Error>(Arc::new(bus))
    };
    let folder = tempfile::tempdir()?;
    let sqlite = |name: &str| format!("sqlite:{}/{name}.sqlite", folder.path().display());
    let embedded = async || {
        let bus = EmbeddedBus::open(&sqlite("bus")).await?;
        Ok::<_, crate::Error>(Arc::new(bus))
    };
    match way {
        Way::Bare => bare_nats::measure(servers.nats.address(), name, load).await,
        Way::NatsAlone => alone::measure(nats().await?, load).await,
        Way::EmbeddedAlone => alone::measure(embedded().await?, load).await,
        Way::NatsWhole => {
            let database = async |name: &str| {
                let url = servers.postgres.database(name).await?;
                Ok::<_, crate::Error>(format!("{url}?pool_size={CONNECTIONS}"))
            };
            let from = database(&format!("from_{name}")).await?;
            let to = database(&format!("to_{name}")).await?;
            whole::measure(nats().await?, (&from, &to), load).await
        }
        Way::EmbeddedWhole => {
            let databases = (&*sqlite("from"), &*sqlite("to"));
            whole::measure(embedded().await?, databases, load).await
        }
    }
}
