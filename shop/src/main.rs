//! The shop's binary; its verbs are those of every system (`shop --help`).

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(shop::system())
}
