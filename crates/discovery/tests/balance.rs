//! Which instance is picked.

use std::collections::BTreeSet;

use outrigger_discovery::balance::{Picker, Strategy};
use proptest::prelude::*;

const IDLE: fn(usize) -> usize = |_| 0;
const ALL: fn(usize) -> bool = |_| true;

#[test]
fn round_robin_takes_one_after_the_other() {
    let picker = Picker::new(Strategy::RoundRobin);
    let picks: Vec<_> = (0..6).map(|_| picker.pick(3, ALL, IDLE)).collect();
    assert_eq!(picks, [0, 1, 2, 0, 1, 2].map(Some));
}

#[test]
fn random_reaches_every_one() {
    let picker = Picker::new(Strategy::Random);
    let picks: BTreeSet<_> = (0..200).map(|_| picker.pick(3, ALL, IDLE)).collect();
    assert_eq!(picks.len(), 3);
}

#[test]
fn least_connections_takes_the_idlest() {
    let picker = Picker::new(Strategy::LeastConnections);
    let load = [4, 1, 7];
    assert_eq!(picker.pick(3, ALL, |index| load[index]), Some(1));
}

#[test]
fn least_connections_takes_turns_among_equals() {
    let picker = Picker::new(Strategy::LeastConnections);
    let picks: BTreeSet<_> = (0..3).map(|_| picker.pick(3, ALL, IDLE)).collect();
    assert_eq!(picks.len(), 3);
}

proptest! {
    /// A pick is one of those that take requests; there is none only when nobody does.
    #[test]
    fn a_pick_takes_requests(
        available in prop::collection::vec(any::<bool>(), 0..20),
        kind in prop_oneof![Just(Strategy::RoundRobin), Just(Strategy::Random), Just(Strategy::LeastConnections)],
    ) {
        let picker = Picker::new(kind);
        for _ in 0..5 {
            match picker.pick(available.len(), |index| available[index], IDLE) {
                Some(index) => prop_assert!(available[index]),
                None => prop_assert!(!available.contains(&true)),
            }
        }
    }
}
