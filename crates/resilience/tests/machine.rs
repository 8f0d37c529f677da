//! The rules of the breaker hold in any order of events.

use std::time::Duration;

use env::Instant;
use outrigger_resilience::breaker::{Machine, Rate, Settings, State, Ticket, window::Window};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Enter,
    /// Of the calls under way, the one at this place, whenever it began.
    Succeed(usize),
    Fail(usize),
    GiveUp(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Enter),
        4 => any::<usize>().prop_map(Step::Succeed),
        3 => any::<usize>().prop_map(Step::Fail),
        1 => any::<usize>().prop_map(Step::GiveUp),
        2 => (0..4_000_u64).prop_map(Step::Wait),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let rate = prop::option::of((0.1..1.0, 1..10_u32).prop_map(|(failures, calls)| Rate {
        failures,
        window: Duration::from_secs(5),
        calls,
    }));
    (1..5_u32, rate, 1..4_u32, 1..5_u32).prop_map(|(failures, rate, probes, successes)| Settings {
        failures,
        rate,
        slow: None,
        recovery: Duration::from_secs(3),
        recovery_limit: Duration::from_secs(10),
        probes,
        successes,
    })
}

/// What an observer counts, without the machine's own counts.
struct Seen {
    /// The calls under way, and whether each began in this phase.
    calls: Vec<(Ticket, bool)>,
    opened: Option<Instant>,
    /// For how long at least: 3 s, then 6 s, then 10 s, until it is closed again.
    recovery: Duration,
    /// Successes of probes since it was half open.
    successes: u32,
    /// Failures in a row since it was closed.
    failures: u32,
}

impl Seen {
    fn take(&mut self, place: usize) -> Option<(Ticket, bool)> {
        (!self.calls.is_empty()).then(|| self.calls.swap_remove(place % self.calls.len()))
    }

    fn probes(&self) -> usize {
        self.calls.iter().filter(|(_, current)| *current).count()
    }

    /// What was let through before counts no more.
    fn changed(&mut self) {
        self.calls
            .iter_mut()
            .for_each(|(_, current)| *current = false);
        (self.successes, self.failures) = (0, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_rules_hold_in_any_order_of_events(
        settings in settings(),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut machine = Machine::new(settings.clone());
        let mut seen = Seen { calls: Vec::new(), opened: None, recovery: Duration::ZERO, successes: 0, failures: 0 };
        let mut now = env::instant();
        for step in steps {
            let before = machine.state();
            match step {
                Step::Wait(millis) => now += Duration::from_millis(millis),
                Step::Enter => {
                    let wait = machine.wait(now);
                    match machine.enter(now) {
                        Ok(ticket) => {
                            prop_assert!(wait.is_zero());
                            if before == State::Open {
                                let opened = seen.opened.expect("it opened");
                                prop_assert!(now - opened >= seen.recovery, "too early");
                                prop_assert_eq!(machine.state(), State::HalfOpen);
                                seen.changed();
                            }
                            seen.calls.push((ticket, true));
                            if machine.state() == State::HalfOpen {
                                prop_assert!(seen.probes() <= settings.probes as usize, "a stampede");
                            }
                        }
                        Err(refused) => {
                            prop_assert_eq!(refused, wait);
                            prop_assert!(!wait.is_zero());
                            prop_assert!(before != State::Closed, "closed, everything passes");
                            prop_assert_eq!(machine.state(), before);
                        }
                    }
                }
                Step::Succeed(place) => if let Some((ticket, current)) = seen.take(place) {
                    machine.succeeded(ticket, now);
                    if !current {
                        prop_assert_eq!(machine.state(), before, "a call of an earlier phase");
                    } else if before == State::HalfOpen {
                        seen.successes += 1;
                        let closes = seen.successes == settings.successes;
                        prop_assert_eq!(machine.state() == State::Closed, closes);
                        if closes {
                            seen.changed();
                            seen.recovery = Duration::ZERO;
                        }
                    } else {
                        seen.failures = 0;
                        prop_assert_eq!(machine.state(), before);
                    }
                },
                Step::Fail(place) => if let Some((ticket, current)) = seen.take(place) {
                    machine.failed(ticket, now, 0.5);
                    seen.failures += u32::from(current && before == State::Closed);
                    if !current {
                        prop_assert_eq!(machine.state(), before, "a call of an earlier phase");
                    } else if before == State::HalfOpen || seen.failures >= settings.failures {
                        prop_assert_eq!(machine.state(), State::Open);
                    } else if settings.rate.is_none() {
                        prop_assert_eq!(machine.state(), State::Closed);
                    }
                    if machine.state() != before {
                        seen.opened = Some(now);
                        let recovery = settings.recovery.max(seen.recovery * 2);
                        seen.recovery = recovery.min(settings.recovery_limit);
                        seen.changed();
                    }
                },
                Step::GiveUp(place) => if let Some((ticket, _)) = seen.take(place) {
                    machine.abandoned(ticket);
                    prop_assert_eq!(machine.state(), before);
                },
            }
        }
    }

    /// Whatever happened before: when calls succeed again, the breaker closes.
    #[test]
    fn it_recovers_from_anything(
        settings in settings(),
        steps in prop::collection::vec(any::<bool>(), 0..50),
    ) {
        let mut machine = Machine::new(settings.clone());
        let mut now = env::instant();
        for fails in steps {
            if let Ok(ticket) = machine.enter(now) {
                if fails { machine.failed(ticket, now, 1.0) } else { machine.succeeded(ticket, now) }
            }
        }
        now += settings.recovery_limit * 2;
        for _ in 0..settings.successes {
            let ticket = machine.enter(now).expect("recovered");
            machine.succeeded(ticket, now);
        }
        prop_assert_eq!(machine.state(), State::Closed);
    }

    /// The window never counts what is older than it, nor misses what is younger than nine tenths of it.
    #[test]
    fn a_window_counts_the_latest_calls(
        calls in prop::collection::vec((0..3_000_u64, any::<bool>()), 1..100),
    ) {
        let length = Duration::from_secs(10);
        let mut window = Window::new(length);
        let mut now = env::instant();
        let mut ended = Vec::new();
        for (pause, failed) in calls {
            now += Duration::from_millis(pause);
            // Looked at before and after: a call that ends makes room for its own slice.
            for _ in 0..2 {
                let since = |age: Duration| {
                    let young = ended.iter().filter(|(at, _)| now - *at < age);
                    young.fold((0, 0), |(calls, failures), (_, failed)| {
                        (calls + 1, failures + u64::from(*failed))
                    })
                };
                let (least, most) = (since(length * 9 / 10), since(length));
                let (calls, failures) = window.totals(now);
                prop_assert!(least.0 <= calls && calls <= most.0, "{calls} calls");
                prop_assert!(least.1 <= failures && failures <= most.1, "{failures} failures");
                if ended.last() != Some(&(now, failed)) {
                    window.record(now, failed);
                    ended.push((now, failed));
                }
            }
        }
    }
}
