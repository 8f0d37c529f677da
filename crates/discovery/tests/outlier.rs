//! Who stands out, how many may be left out, and what a row of answers to health checks comes to.

use std::time::Duration;

use outrigger_discovery::{
    health::{self, Probes},
    outlier::{Settings, Tally},
};
use proptest::prelude::*;

fn tally(calls: u32, failures: u32) -> Tally {
    Tally { calls, failures }
}

#[test]
fn who_fails_more_than_the_others_stands_out() {
    let settings = Settings::default();
    assert!(settings.stands_out(tally(100, 50), tally(200, 2)));
    assert!(
        !settings.stands_out(tally(100, 50), tally(200, 90)),
        "all of them fail"
    );
    assert!(
        !settings.stands_out(tally(10, 10), tally(200, 0)),
        "too few calls to say"
    );
    assert!(
        !settings.stands_out(tally(100, 50), tally(5, 0)),
        "too few to compare with"
    );
}

#[test]
fn each_time_it_is_left_out_for_longer_up_to_a_limit() {
    let settings = Settings::default();
    assert_eq!(settings.length(0), settings.base);
    assert_eq!(settings.length(2), settings.base * 3);
    assert_eq!(settings.length(u32::MAX), settings.longest);
}

proptest! {
    /// Never are more left out than the share, and where too few are well, nobody is.
    #[test]
    fn no_more_are_left_out_than_the_share(
        count in 0..50_usize,
        most in 0.0..=1.0,
        panic in 0.0..=1.0,
    ) {
        let settings = Settings { most, panic, ..Settings::default() };
        let mut ejected = 0;
        while settings.may_eject(ejected, count) {
            ejected += 1;
        }
        prop_assert!(ejected as f64 <= most * count as f64);
        prop_assert!((ejected + 1) as f64 > most * count as f64);
        if settings.panics(count - ejected, count) {
            prop_assert!(((count - ejected) as f64) < panic * count as f64);
        }
    }

    /// Against a plain model: the state changes after so many answers in a row that speak against it, and not before.
    #[test]
    fn health_changes_after_so_many_answers_in_a_row(
        answers in prop::collection::vec(any::<bool>(), 0..100),
        unhealthy in 1..5_u32,
        healthy in 1..5_u32,
    ) {
        let settings = health::Settings { unhealthy, healthy, ..health::Settings::default() };
        let (mut probes, mut state, mut seen) = (Probes::default(), true, Vec::new());
        for well in answers {
            seen.push(well);
            let needed = if state { unhealthy } else { healthy } as usize;
            let row = seen.iter().rev().take_while(|seen| **seen != state).count();
            let changes = row >= needed;
            prop_assert_eq!(probes.seen(well, &settings), changes.then_some(!state));
            if changes {
                state = !state;
                seen.clear();
            }
        }
    }
}

#[test]
fn the_defaults_bring_an_instance_back_sooner_than_they_take_it_out() {
    let health = health::Settings::default();
    assert!(health.healthy < health.unhealthy && health.timeout < health.every);
    assert!(Settings::default().base >= Duration::from_secs(1));
}
