//! The verbs of a system's binary.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use outrigger::System;
//!
//! fn main() -> ExitCode {
//!     outrigger_cli::main(System::new("shop"))
//! }
//! ```
//!
//! One file a verb: `up`, `serve`, `services`, `token`, `keys`, `check`, `audit`, `database`, `dead_letters`, `outbox`,
//! `projections`, `sagas`, `bus`, `rewind`, `deploy`, `describe`, `doctor`, `simulate`. `processes` is `up` with a process
//! for each service, `ready` what is said when a system is up; `settings` and `time` are what several of them take. Data goes
//! to standard output, everything else to standard error; with `--output json` standard output
//! holds JSON only.

mod audit;
mod bus;
mod check;
mod database;
mod dead_letters;
mod deploy;
mod describe;
mod doctor;
mod error;
mod keys;
mod outbox;
mod processes;
#[cfg(feature = "simulation")]
mod progress;
mod projections;
mod ready;
mod rewind;
mod sagas;
mod serve;
mod services;
mod settings;
mod signals;
#[cfg(feature = "simulation")]
mod simulate;
mod time;
mod token;
mod up;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use outrigger::{System, env::chain};

use crate::error::Error;

#[derive(Parser)]
#[command(
    version,
    about = "Runs the system: all of it (up), a part of it, or a simulation of it",
    after_help = "Examples:\n  shop\n  shop simulate --seed 42"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    global: Global,
}

#[derive(clap::Args, Clone)]
struct Global {
    /// What standard output holds.
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    output: Output,

    /// The file of settings; it need not exist.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "outrigger.toml"
    )]
    config: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Text for people.
    Human,
    /// JSON for programs.
    Json,
}

#[derive(Subcommand)]
enum Verb {
    Up(up::Up),
    Serve(serve::Serve),
    Services(services::Services),
    Token(token::Token),
    Keys(keys::Keys),
    Check(check::Check),
    Audit(audit::Audit),
    Database(database::Database),
    DeadLetters(dead_letters::DeadLetters),
    Outbox(outbox::Outbox),
    Projections(projections::Projections),
    Sagas(sagas::Sagas),
    Bus(bus::Bus),
    Rewind(rewind::Rewind),
    Deploy(deploy::Deploy),
    Describe(describe::Describe),
    Doctor(doctor::Doctor),
    #[cfg(feature = "simulation")]
    Simulate(simulate::Simulate),
}

/// Runs the verb of the command line on `system`; without one, `up`.
pub fn main(system: System) -> ExitCode {
    let arguments = match parse(&system) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match run(system, arguments) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn parse(system: &System) -> Result<Arguments, clap::Error> {
    let name = system.name().to_owned();
    let command = Arguments::command().name(name.clone()).bin_name(name);
    Arguments::from_arg_matches(&command.get_matches())
}

fn run(system: System, Arguments { verb, global }: Arguments) -> Result<ExitCode, Error> {
    match verb.unwrap_or_else(|| Verb::Up(up::Up::default())) {
        Verb::Up(up) => runtime()?.block_on(up.run(system, &global)),
        Verb::Serve(serve) => runtime()?.block_on(serve.run(system, &global)),
        Verb::Services(services) => runtime()?.block_on(services.run(&global)),
        Verb::Token(token) => token.run(&system, &global),
        Verb::Keys(keys) => keys.run(&global),
        Verb::Check(check) => check.run(&system, &global),
        Verb::Audit(audit) => runtime()?.block_on(audit.run(system, &global)),
        Verb::Database(database) => runtime()?.block_on(database.run(&system, &global)),
        Verb::DeadLetters(verb) => runtime()?.block_on(verb.run(system, &global)),
        Verb::Outbox(outbox) => runtime()?.block_on(outbox.run(system, &global)),
        Verb::Projections(verb) => runtime()?.block_on(verb.run(system, &global)),
        Verb::Sagas(sagas) => runtime()?.block_on(sagas.run(system, &global)),
        Verb::Bus(bus) => runtime()?.block_on(bus.run(&system, &global)),
        Verb::Rewind(rewind) => runtime()?.block_on(rewind.run(&system, &global)),
        Verb::Deploy(deploy) => deploy.run(&system),
        Verb::Describe(describe) => Ok(describe.run(&system, &global)),
        Verb::Doctor(doctor) => runtime()?.block_on(doctor.run(&system, &global)),
        #[cfg(feature = "simulation")]
        Verb::Simulate(simulate) => simulate.run(system, &global),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)
}

#[expect(clippy::print_stderr, reason = "the verbs speak to a terminal")]
fn complain(error: &Error) {
    eprintln!("error: {}", chain(error));
}

/// Prints a line of data. Whoever reads it may have seen enough, as `head` has: then it is not for anybody.
fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line of progress.
#[expect(clippy::print_stderr, reason = "the verbs speak to a terminal")]
fn note(line: impl std::fmt::Display) {
    eprintln!("{line}");
}
