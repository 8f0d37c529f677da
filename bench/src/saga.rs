//! Order sagas, from their start to their end, on embedded parts and on servers, beside Restate.
//!
//! The saga is the same everywhere: reserve and charge, which other services do, and confirm, which the service does that
//! has the saga: a call like the others on Restate, and on our side part of the saga's transaction. Of ten orders one is
//! declined, and what was reserved is released. Ours write a row in each step; those of Restate do nothing, which is to
//! its advantage. Beside that the same on Restate with steps that no service takes, which its handler does on the spot.
//!
//! All figures of CPU are of all processes that take part; on the side of Restate without the one that makes the
//! requests, on ours with it.

mod company;
mod load;
mod restate;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use events::{EmbeddedBus, NatsBus, nats};
use servers::{Nats, Postgres, postgres};

use self::{
    company::Company,
    load::{Load, Measured},
    restate::{Restate, Steps},
};
use crate::{Result, processes, report::Case, rounds::median};

/// So many are under way at the same time, when not one alone is.
const MANY: usize = 64;

/// Who runs the sagas.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Embedded,
    Servers,
    Restate(Steps),
}

impl Side {
    const OURS: [Self; 2] = [Self::Embedded, Self::Servers];
    const PEERS: [Self; 2] = [
        Self::Restate(Steps::Called),
        Self::Restate(Steps::OnTheSpot),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Servers => "PostgreSQL and NATS",
            Self::Restate(Steps::Called) => "Restate",
            Self::Restate(Steps::OnTheSpot) => "Restate, steps by ctx.run",
        }
    }

    /// How it is durable.
    fn settings(self) -> &'static str {
        match self {
            Self::Embedded => "SQLite, WAL, synchronous=FULL, on both databases and bus",
            Self::Servers => {
                "PostgreSQL fsync=on, synchronous_commit=on; NATS file storage, sync_interval=always"
            }
            Self::Restate(_) => "Restate: its defaults (WAL synced)",
        }
    }
}

/// What was measured of a side, round by round.
#[derive(Default)]
struct Rounds(BTreeMap<(Side, usize), Vec<Measured>>);

impl Rounds {
    fn median(&self, side: Side, in_flight: usize, of: impl Fn(&Measured) -> f64) -> f64 {
        let rounds = self.0.get(&(side, in_flight));
        median(rounds.into_iter().flatten().map(of).collect())
    }
}

pub async fn run(quick: bool) -> Result<Vec<Case>> {
    let (rounds, seconds) = if quick { (1, 3) } else { (3, 5) };
    let mut measured = Rounds::default();
    // By turns, so that a disk that is slower for a while is so for all.
    for _ in 0..rounds {
        for side in Side::OURS.into_iter().chain(Side::PEERS) {
            let found = measure(side, Duration::from_secs(seconds)).await?;
            for (in_flight, figures) in [MANY, 1].into_iter().zip(found) {
                measured
                    .0
                    .entry((side, in_flight))
                    .or_default()
                    .push(figures);
            }
        }
    }
    let mut cases = Vec::new();
    for ours in Side::OURS {
        for peer in Side::PEERS {
            for in_flight in [MANY, 1] {
                cases.extend(compared(&measured, ours, peer, in_flight));
            }
        }
    }
    Ok(cases)
}

/// The two sides, with so many sagas under way at the same time.
fn compared(measured: &Rounds, ours: Side, peer: Side, in_flight: usize) -> [Case; 4] {
    let case = |what: &str| format!("{}, {in_flight} in flight: {what}", ours.name());
    let settings = format!("{}; {}", ours.settings(), peer.settings());
    let both = |of: fn(&Measured) -> f64| {
        let of = |side| measured.median(side, in_flight, of);
        (of(ours), of(peer))
    };
    let cost = |what: &str, of| {
        let (ours, theirs) = both(of);
        Case::cost(&case(what), "ms", ours, peer.name(), theirs, &settings)
    };
    let (rate, peer_rate) = both(|it| it.rate);
    [
        Case::rate(&case("sagas"), rate, peer.name(), peer_rate, &settings),
        cost("p50", |it| it.p50),
        cost("p99", |it| it.p99),
        cost("CPU a saga", |it| it.cpu),
    ]
}

/// With many under way, and with one.
async fn measure(side: Side, length: Duration) -> Result<[Measured; 2]> {
    let loads = [MANY, 1].map(|in_flight| Load { in_flight, length });
    match side {
        Side::Restate(steps) => {
            let restate = Restate::start(steps).await?;
            let place = |number| restate.place(number);
            let cpu = || restate.cpu();
            Ok([
                load::measure(loads[0], place, cpu).await?,
                load::measure(loads[1], place, cpu).await?,
            ])
        }
        Side::Embedded => {
            let folder = tempfile::tempdir()?;
            let file = |name: &str| format!("sqlite:{}/{name}.sqlite", folder.path().display());
            let bus = EmbeddedBus::open(&file("bus")).await?;
            let databases = company::SERVICES.map(file);
            ours(Company::open(Arc::new(bus), &databases).await?, loads).await
        }
        Side::Servers => {
            let durable = servers::nats::Options {
                sync_always: true,
                ..servers::nats::Options::default()
            };
            let nats_server = Nats::start(durable).await?;
            let postgres = Postgres::start_with(postgres::Options::new().fsync()).await?;
            let mut databases = Vec::new();
            for service in company::SERVICES {
                databases.push(postgres.database(service).await?);
            }
            let bus = NatsBus::connect(&nats_server.url(), nats::Options::default()).await?;
            ours(Company::open(Arc::new(bus), &databases).await?, loads).await
        }
    }
}

async fn ours(company: Company, loads: [Load; 2]) -> Result<[Measured; 2]> {
    let place = |number| company.place(number);
    let cpu = || processes::cpu_of(std::process::id());
    Ok([
        load::measure(loads[0], place, cpu).await?,
        load::measure(loads[1], place, cpu).await?,
    ])
}
