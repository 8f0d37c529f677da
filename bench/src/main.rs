//! Benchmarks of Outrigger, each beside a peer in the same run on the same machine.
//!
//! A figure alone says how fast a machine is; a ratio says how good the code is. So each case has a peer, which runs
//! within the same minute and with the same durability, and figures of two runs are never compared.

mod report;
mod store;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Error> = std::result::Result<T, E>;

/// Runs one benchmark with its peers, prints a table, and writes bench/results/NAME.json.
#[derive(Parser)]
#[command(name = "bench/run", after_help = "Example: bench/run store --quick")]
struct Arguments {
    /// What to measure.
    name: Name,
    /// One round instead of several: to see that it runs, not what it measures.
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Appends a second to the event store, beside raw inserts into the same database.
    Store,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { name, quick } = Arguments::parse();
    let cases = match name {
        Name::Store => store::run(quick).await,
    };
    let name = name.to_possible_value().expect("no name is hidden");
    match cases.and_then(|cases| report::publish(name.get_name(), &cases)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
