//! What bounds calls holds against plain models, in any order of events: they count what is under way, and no more.

use std::{num::NonZeroU32, time::Duration};

use outrigger_resilience::{
    adaptive::{Ended, Gradient, Limiter, Permit, Settings},
    admission::{self, Gate},
    shed::{Capacity, Priority, Shares, Shedder},
};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Enter(Priority),
    /// Of those under way, the one at this place ends so; `None` is given up.
    End(usize, Option<Ended>),
}

fn step() -> impl Strategy<Value = Step> {
    let priority = prop::sample::select(vec![Priority::Low, Priority::Normal, Priority::Critical]);
    let ended = prop::sample::select(vec![Ended::Answered, Ended::Overloaded, Ended::Otherwise]);
    prop_oneof![
        3 => priority.prop_map(Step::Enter),
        2 => (any::<usize>(), prop::option::of(ended)).prop_map(|(place, how)| Step::End(place, how)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..300)
}

fn small() -> Settings {
    Settings {
        initial: 6,
        least: 2,
        most: 12,
        ..Settings::default()
    }
}

/// The one at `place` of those under way, of whom there is one.
fn take<T>(under_way: &mut Vec<T>, place: usize) -> Option<T> {
    (!under_way.is_empty()).then(|| under_way.swap_remove(place % under_way.len()))
}

proptest! {
    /// A call is let in while fewer are under way than the limit says, and only what is learned moves the limit.
    #[test]
    fn an_adaptive_limit_lets_in_as_many_as_it_says(steps in steps()) {
        let limiter = Limiter::new(small());
        let mut under_way: Vec<Permit> = Vec::new();
        for step in steps {
            let limit = limiter.limit();
            match step {
                Step::Enter(_) => {
                    let room = under_way.len() < limit as usize;
                    let entered = limiter.enter();
                    prop_assert_eq!(entered.is_ok(), room);
                    under_way.extend(entered);
                    prop_assert_eq!(limiter.limit(), limit);
                }
                Step::End(place, how) => {
                    let ended = take(&mut under_way, place);
                    let learns = matches!(how, Some(Ended::Answered | Ended::Overloaded));
                    if let (Some(permit), Some(how)) = (ended, how) {
                        permit.ended(how);
                    }
                    prop_assert!(learns || limiter.limit() == limit);
                }
            }
            prop_assert_eq!(limiter.in_flight() as usize, under_way.len());
        }
    }

    /// A request is taken while fewer are under way than its priority may fill; with all that is under way gone, there
    /// is room again.
    #[test]
    fn a_shedder_takes_as_many_as_the_priority_may_fill(
        steps in steps(),
        capacity in 0..10_u32,
        low in 0.0..=1.0,
        normal in 0.0..=1.0,
    ) {
        let shares = Shares { low, normal };
        let shedder = Shedder::new(Capacity::Fixed(capacity), shares);
        let mut under_way = Vec::new();
        for step in steps {
            match step {
                Step::Enter(priority) => {
                    let share = match priority {
                        Priority::Low => low.min(normal),
                        Priority::Normal => normal,
                        Priority::Critical => 1.0,
                    };
                    let room = (under_way.len() as f64) < share * f64::from(capacity);
                    let entered = shedder.enter(priority);
                    prop_assert_eq!(entered.is_ok(), room);
                    under_way.extend(entered);
                }
                Step::End(place, _) => drop(take(&mut under_way, place)),
            }
            prop_assert_eq!(shedder.in_flight() as usize, under_way.len());
        }
        drop(under_way);
        prop_assert_eq!(shedder.enter(Priority::Critical).is_ok(), capacity > 0);
    }

    /// Before a server: whatever the limit is at the moment, what is let in fits into the share of it, and nothing else is
    /// refused.
    #[test]
    fn g9_admission_fills_the_limit_by_priority(steps in steps()) {
        let [initial, least, most] = [6, 2, 12].map(|count| NonZeroU32::new(count).expect("not zero"));
        let settings = admission::Settings { initial, least, most, ..admission::Settings::default() };
        let shares = Shares { low: settings.low, normal: settings.normal };
        let gate = Gate::of(settings).expect("gates are on");
        let mut under_way = Vec::new();
        for step in steps {
            match step {
                Step::Enter(priority) => {
                    let room = shares.room(priority, gate.limit());
                    let entered = gate.enter(priority);
                    prop_assert_eq!(entered.is_ok(), under_way.len() < room as usize);
                    under_way.extend(entered);
                }
                Step::End(place, how) => {
                    let ended = take(&mut under_way, place);
                    if let (Some(admitted), Some(how)) = (ended, how) {
                        admitted.ended(how);
                    }
                }
            }
        }
    }

    /// How the limit moves: up by a small queue at most and down by a half at most, each smoothed; by a tenth at an
    /// overload; not at all where it was not tried. So many calls after the start, ten are made by few to see what one
    /// takes alone.
    #[test]
    fn a_limit_moves_by_small_steps_and_is_measured_in_time(
        calls in prop::collection::vec((1..50_u64, 0..=2_u32, any::<bool>()), 1..200),
    ) {
        let settings = Settings { initial: 10, least: 3, most: 40, rounds: 5, ..Settings::default() };
        let mut gradient = Gradient::new(settings);
        let mut tries_left = settings.initial * settings.rounds;
        let mut measured = None;
        for (millis, halves, overloaded) in calls {
            let before = gradient.limit();
            // Idle, half used, or used up.
            let in_flight = before * halves / 2;
            let tried = in_flight * 2 >= before;
            if overloaded && measured.is_none() {
                gradient.overloaded();
                let less = (f64::from(before) * 0.9).floor() as u32;
                prop_assert!((less..=before).contains(&gradient.limit()) || gradient.limit() == settings.least);
                continue;
            }
            gradient.answered(Duration::from_millis(millis), in_flight);
            match (&mut measured, tried) {
                (_, false) => prop_assert_eq!(gradient.limit(), before),
                (Some(calls), true) => {
                    *calls += 1;
                    if *calls < 10 {
                        prop_assert_eq!(gradient.limit(), settings.least);
                    } else {
                        prop_assert!(gradient.limit() >= settings.least);
                        measured = None;
                        tries_left = gradient.limit() * settings.rounds;
                    }
                }
                (None, true) => {
                    tries_left -= 1;
                    if tries_left == 0 {
                        prop_assert_eq!(gradient.limit(), settings.least, "now it is measured");
                        measured = Some(0);
                    } else {
                        let after = gradient.limit();
                        let least = f64::from(before) * (1.0 - 0.5 * settings.smoothing) - 1.0;
                        let most = f64::from(before + 1) + 4.0 * settings.smoothing;
                        prop_assert!((least..=most).contains(&f64::from(after)), "{before}, {after}");
                    }
                }
            }
        }
    }
}
