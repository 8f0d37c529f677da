//! A breaker opens when calls fail, lets a few through to see, and closes when they succeed.

use std::time::Duration;

use outrigger_resilience::breaker::{Breaker, Machine, Settings, State};
use proptest::prelude::*;

fn settings() -> Settings {
    Settings {
        failures: 3,
        recovery: Duration::from_secs(5),
        probes: 1,
        successes: 3,
    }
}

/// The longest that recovery takes, with what chance adds.
const RECOVERED: Duration = Duration::from_secs(7);

fn fail(breaker: &Breaker) {
    breaker.enter().expect("let through").failed();
}

fn succeed(breaker: &Breaker) {
    breaker.enter().expect("let through").succeeded();
}

fn opened() -> Breaker {
    let breaker = Breaker::new(settings());
    (0..3).for_each(|_| fail(&breaker));
    breaker
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_and_calls_are_refused() {
    let breaker = opened();
    assert_eq!(breaker.state(), State::Open);
    assert!(!breaker.is_available());
    let refused = breaker.enter().err().expect("refused");
    assert!(refused.retry_after >= Duration::from_secs(5) && refused.retry_after < RECOVERED);
}

#[tokio::test(start_paused = true)]
async fn a_success_between_failures_keeps_it_closed() {
    let breaker = Breaker::new(settings());
    fail(&breaker);
    fail(&breaker);
    succeed(&breaker);
    fail(&breaker);
    fail(&breaker);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn three_successes_after_the_recovery_close_it() {
    let breaker = opened();
    tokio::time::advance(RECOVERED).await;
    succeed(&breaker);
    assert_eq!(breaker.state(), State::HalfOpen);
    succeed(&breaker);
    succeed(&breaker);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_opens_it_again() {
    let breaker = opened();
    tokio::time::advance(RECOVERED).await;
    succeed(&breaker);
    fail(&breaker);
    assert_eq!(breaker.state(), State::Open);
    assert!(breaker.enter().is_err());
}

#[tokio::test(start_paused = true)]
async fn half_open_lets_one_probe_through_at_a_time() {
    let breaker = opened();
    tokio::time::advance(RECOVERED).await;
    let probe = breaker.enter().expect("the probe");
    assert!(breaker.enter().is_err(), "no stampede");
    drop(probe);
    assert!(
        breaker.enter().is_ok(),
        "a probe that was given up makes room"
    );
}

#[tokio::test(start_paused = true)]
async fn changes_of_state_are_told() {
    let breaker = Breaker::new(settings());
    let mut changes = breaker.changes();
    (0..3).for_each(|_| fail(&breaker));
    assert!(changes.has_changed().expect("the breaker lives"));
    assert_eq!(*changes.borrow_and_update(), State::Open);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Enter,
    Succeed,
    Fail,
    GiveUp,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Enter),
        3 => Just(Step::Succeed),
        3 => Just(Step::Fail),
        1 => Just(Step::GiveUp),
        2 => (0..8_000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens: half open, no more than the permitted probes are under way; and what `would_enter` says
    /// is what `enter` does.
    #[test]
    fn the_rules_hold_in_any_order_of_events(steps in prop::collection::vec(step(), 1..200)) {
        let mut machine = Machine::new(settings());
        let mut now = env::instant();
        let mut under_way = 0_u32;
        for step in steps {
            match step {
                Step::Enter => {
                    let foretold = machine.would_enter(now);
                    let was_closed = machine.state() == State::Closed;
                    let entered = machine.enter(now).is_ok();
                    prop_assert_eq!(entered, foretold);
                    if entered {
                        if !was_closed && machine.state() == State::HalfOpen {
                            prop_assert!(machine.would_enter(now) == (settings().probes > 1));
                        }
                        under_way += 1;
                    }
                }
                Step::Wait(millis) => now += Duration::from_millis(millis),
                _ if under_way == 0 => {}
                Step::Succeed => { machine.succeeded(); under_way -= 1; }
                Step::Fail => { machine.failed(now, 0.5); under_way -= 1; }
                Step::GiveUp => { machine.abandoned(); under_way -= 1; }
            }
        }
    }
}
