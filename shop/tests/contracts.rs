//! The shop keeps its contracts (G12).

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use outrigger::contracts;

#[test]
fn g12_the_messages_are_as_their_committed_schemas_say() {
    let system = shop::system();
    let folder = system.contracts_folder().unwrap();
    let found = contracts::compare(&system, folder).unwrap();
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
