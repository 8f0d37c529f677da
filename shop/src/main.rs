//! The shop's binary; its verbs are those of every system (`shop --help`).

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Sagas of many statements allocate a lot, and get a fifth more done with it than with that of the C library; see
/// docs/decisions/0041-the-allocator-is-the-binarys.md.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::main(shop::system())
}
