//! Benchmarks of Outrigger, each beside a peer in the same run on the same machine.
//!
//! A figure alone says how fast a machine is; a ratio says how good the code is. So each case has a peer, which runs
//! within the same minute and with the same durability, and figures of two runs are never compared.

mod account;
mod bus;
mod calls;
mod processes;
mod registry;
mod replay;
mod report;
mod rounds;
mod saga;
mod store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

/// That of the shop (docs/decisions/0041-the-allocator-is-the-binarys.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Error> = std::result::Result<T, E>;

/// Runs one benchmark with its peers, prints a table, and writes bench/results/NAME.json.
#[derive(Parser)]
#[command(name = "bench/run", after_help = "Example: bench/run store --quick")]
struct Arguments {
    #[command(subcommand)]
    name: Name,
    /// One round instead of several: to see that it runs, not what it measures.
    #[arg(long, global = true)]
    quick: bool,
}

#[derive(Subcommand)]
enum Name {
    /// Appends a second to the event store, beside raw inserts into the same database and beside cqrs-es.
    Store,
    /// Events a second and their latency, from published to handled, on the embedded bus and on NATS; beside a bare loop
    /// on NATS.
    Bus,
    /// Nanoseconds of a closed breaker, of a pick among 3, 100 and 1,000 instances, and of the whole client stack; beside
    /// failsafe, recloser, tower-resilience, tower's p2c and a bare client of hyper.
    Calls,
    /// How soon 1,000 watchers hear of a change among 10,000 instances, and the CPU and the memory of the hub; beside a
    /// bucket of NATS.
    Registry,
    /// The hub of `registry`.
    #[command(hide = true)]
    RegistryHub {
        /// Where it keeps its state.
        url: String,
    },
    /// Order sagas a second, how long one takes and what it costs, on embedded parts and on PostgreSQL and NATS; beside
    /// the same saga on Restate.
    Saga,
    /// Events a second of a long stream that is replayed, and of which a projection is built; and the memory it takes.
    Replay {
        /// 1,000,000 events instead of 100,000. It takes minutes.
        #[arg(long)]
        full: bool,
    },
    /// A process of `replay`.
    #[command(hide = true)]
    ReplayPart(replay::Part),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(Arguments { name, quick }: Arguments) -> Result<()> {
    match name {
        Name::Store => report::publish("store", &store::run(quick).await?),
        Name::Bus => report::publish("bus", &bus::run(quick).await?),
        Name::Calls => report::publish("calls", &calls::run(quick).await?),
        Name::Registry => report::publish("registry", &registry::run(quick).await?),
        Name::RegistryHub { url } => registry::serve(&url).await,
        Name::Saga => report::publish("saga", &saga::run(quick).await?),
        Name::Replay { full } => report::publish("replay", &replay::run(quick, full).await?),
        Name::ReplayPart(part) => replay::run_part(part).await,
    }
}
