//! Which instance is picked.

use std::{cell::Cell, collections::BTreeSet, time::Duration};

use env::Instant;
use outrigger_discovery::balance::{
    Candidate, Key, Picker, Strategy, load::PeakEwma, maglev::Table,
};
use proptest::prelude::*;

const STRATEGIES: [Strategy; 6] = [
    Strategy::PeakEwma,
    Strategy::LeastConnections,
    Strategy::RoundRobin,
    Strategy::Random,
    Strategy::Weighted,
    Strategy::ConsistentHash,
];

/// An instance that is as it is told.
#[derive(Debug, Clone)]
struct Instance {
    in_flight: usize,
    latency: Option<f64>,
    weight: f64,
    warmth: f64,
}

const IDLE: Instance = Instance {
    in_flight: 0,
    latency: Some(0.01),
    weight: 1.0,
    warmth: 1.0,
};

impl Candidate for Instance {
    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn latency(&self, _: Instant) -> Option<f64> {
        self.latency
    }

    fn weight(&self) -> f64 {
        self.weight
    }

    fn warmth(&self, _: Instant) -> f64 {
        self.warmth
    }
}

/// How often each was picked, of 10,000 times.
fn shares(strategy: Strategy, instances: &[Instance]) -> Vec<u32> {
    let picker = Picker::new(strategy);
    let mut picks = vec![0; instances.len()];
    for _ in 0..10_000 {
        let picked = picker.pick(instances, None, None, env::instant(), |_| true);
        picks[picked.expect("all take requests")] += 1;
    }
    picks
}

#[test]
fn round_robin_takes_one_after_the_other() {
    let picker = Picker::new(Strategy::RoundRobin);
    let pick = || picker.pick(&[IDLE, IDLE, IDLE], None, None, env::instant(), |_| true);
    let picks: Vec<_> = (0..6).map(|_| pick()).collect();
    assert_eq!(picks, [0, 1, 2, 0, 1, 2].map(Some));
}

#[test]
fn every_strategy_reaches_everybody() {
    for strategy in STRATEGIES {
        let picks = shares(strategy, &[IDLE, IDLE, IDLE]);
        assert!(
            picks.iter().all(|picks| *picks > 2_500),
            "{strategy:?}: {picks:?}"
        );
    }
}

#[test]
fn least_connections_takes_the_idlest_for_its_weight() {
    let busy = |in_flight| Instance { in_flight, ..IDLE };
    let picks = shares(Strategy::LeastConnections, &[busy(4), busy(1), busy(7)]);
    assert_eq!(picks, [0, 10_000, 0]);
    let light = Instance {
        weight: 0.1,
        ..busy(1)
    };
    let picks = shares(Strategy::LeastConnections, &[busy(4), light]);
    assert_eq!(picks, [10_000, 0]);
}

#[test]
fn the_slow_one_of_two_is_never_picked() {
    let slow = Instance {
        latency: Some(1.0),
        ..IDLE
    };
    assert_eq!(shares(Strategy::PeakEwma, &[slow, IDLE]), [0, 10_000]);
}

#[test]
fn what_is_under_way_counts_as_much_as_what_it_takes() {
    let twice_as_slow = Instance {
        latency: Some(0.02),
        ..IDLE
    };
    let busier = Instance {
        in_flight: 2,
        ..IDLE
    };
    assert_eq!(
        shares(Strategy::PeakEwma, &[twice_as_slow, busier]),
        [10_000, 0]
    );
}

#[test]
fn one_that_has_not_answered_is_neither_flooded_nor_starved() {
    let unknown = |in_flight| Instance {
        in_flight,
        latency: None,
        ..IDLE
    };
    let known = Instance {
        in_flight: 1,
        ..IDLE
    };
    assert_eq!(
        shares(Strategy::PeakEwma, &[unknown(2), known.clone()]),
        [0, 10_000]
    );
    assert_eq!(
        shares(Strategy::PeakEwma, &[unknown(0), known]),
        [10_000, 0]
    );
}

#[test]
fn weights_are_shares() {
    let light = Instance {
        weight: 0.25,
        ..IDLE
    };
    let picks = shares(Strategy::Weighted, &[IDLE, light]);
    assert!((1_800..2_200).contains(&picks[1]), "a fifth: {picks:?}");
}

#[test]
fn one_that_warms_up_gets_less() {
    for strategy in STRATEGIES {
        let cold = Instance {
            warmth: 0.1,
            ..IDLE
        };
        let picks = shares(strategy, &[IDLE, cold, IDLE]);
        assert!((100..1_200).contains(&picks[1]), "{strategy:?}: {picks:?}");
    }
}

fn table(count: usize) -> Table {
    let names: Vec<_> = (0..count)
        .map(|index| format!("instance-{index}"))
        .collect();
    Table::new(names.iter().map(|name| (name.as_str(), 1))).expect("there are some")
}

#[test]
fn a_key_stays_where_it_is_and_few_move() {
    let (eleven, ten) = (table(11), table(10));
    let keys = || (0..10_000).map(|key| Key::of(&format!("user-{key}")).0);
    let mut counts = [0; 11];
    let moved = keys().filter(|key| {
        let before = eleven.find(*key, |_| true).expect("found");
        counts[before] += 1;
        before != 10 && ten.find(*key, |_| true) != Some(before)
    });
    let moved = moved.count();
    assert!(moved < 700, "{moved} of 10,000 moved that need not");
    assert!(
        counts.iter().all(|count| (700..1_150).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn only_the_keys_of_who_is_away_go_elsewhere() {
    let table = table(10);
    for key in 0..1_000 {
        let at_home = table.find(key, |_| true);
        let without = table.find(key, |index| index != 3);
        assert_ne!(without, Some(3));
        assert!(at_home == Some(3) || at_home == without);
    }
}

#[test]
fn heavier_ones_get_more_keys() {
    let table = Table::new([("a", 3), ("b", 1)]).expect("there are some");
    let light = (0..10_000).filter(|key| table.find(*key, |_| true) == Some(1));
    assert!((2_200..2_800).contains(&light.count()));
}

proptest! {
    /// A pick is one of those that take requests; there is none only when nobody does.
    #[test]
    fn a_pick_takes_requests(
        available in prop::collection::vec(any::<bool>(), 0..20),
        strategy in prop::sample::select(&STRATEGIES[..]),
        key in prop::option::of(any::<u64>()),
    ) {
        let picker = Picker::new(strategy);
        let instances = vec![IDLE; available.len()];
        let table = (!instances.is_empty()).then(|| table(instances.len()));
        for _ in 0..5 {
            let picked = picker.pick(
                &instances,
                table.as_ref(),
                key.map(Key),
                env::instant(),
                |index| available[index],
            );
            match picked {
                Some(index) => prop_assert!(available[index]),
                None => prop_assert!(!available.contains(&true)),
            }
        }
    }

    /// The average is never above the slowest answer nor below the fastest, a peak is at once all of it, and time only
    /// lets it fade.
    #[test]
    fn an_average_follows_peaks_and_fades(
        answers in prop::collection::vec((0..5_000_u64, 1..1_000_u64, any::<bool>()), 1..50),
    ) {
        let begun = env::instant();
        let load = PeakEwma::new(begun);
        let now = Cell::new(begun);
        let mut seen = BTreeSet::new();
        for (pause, took, well) in answers {
            now.set(now.get() + Duration::from_millis(pause));
            let before = load.seconds(now.get()).unwrap_or(0.0);
            let seconds = took as f64 / 1e3;
            seen.insert(took);
            if well {
                load.answered(Duration::from_millis(took), now.get());
            } else {
                load.failed(Duration::from_millis(took), now.get());
            }
            let after = load.seconds(now.get()).expect("it has answered");
            if seconds >= before {
                prop_assert!((after - seconds).abs() < seconds * 0.02 || after >= seconds, "a peak counts at once");
            }
            let slowest = *seen.last().expect("some") as f64 / 1e3;
            prop_assert!(after <= slowest * 1.001);
            let later = load.seconds(now.get() + Duration::from_secs(1)).unwrap_or(0.0);
            prop_assert!(later < after, "without answers it fades");
        }
    }
}
