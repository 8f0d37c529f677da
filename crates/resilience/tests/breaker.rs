//! A breaker opens when calls fail, lets a few through to see, and closes when they succeed.

use std::time::Duration;

use outrigger_resilience::breaker::{Breaker, Rate, Settings, Slow, State};

fn settings() -> Settings {
    Settings {
        failures: 3,
        rate: None,
        slow: None,
        recovery: Duration::from_secs(5),
        recovery_limit: Duration::from_secs(30),
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
async fn each_failed_probe_doubles_the_recovery_up_to_a_limit_and_a_success_resets_it() {
    let breaker = opened();
    let refused_for = || {
        breaker
            .enter()
            .err()
            .expect("refused")
            .retry_after
            .as_secs()
    };
    for seconds in [10, 20, 30, 30] {
        tokio::time::advance(Duration::from_secs(40)).await;
        fail(&breaker);
        let refused = refused_for();
        assert!(
            (seconds..=seconds + seconds / 5).contains(&refused),
            "{refused} s, not {seconds}"
        );
    }
    tokio::time::advance(Duration::from_secs(40)).await;
    (0..3).for_each(|_| succeed(&breaker));
    (0..3).for_each(|_| fail(&breaker));
    assert!(refused_for() <= 6, "as if it had never been open");
}

#[tokio::test(start_paused = true)]
async fn half_open_lets_one_probe_through_at_a_time() {
    let breaker = opened();
    tokio::time::advance(RECOVERED).await;
    assert!(breaker.is_available());
    let probe = breaker.enter().expect("the probe");
    assert!(breaker.enter().is_err(), "no stampede");
    assert!(!breaker.is_available());
    drop(probe);
    assert!(breaker.is_available());
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

#[tokio::test(start_paused = true)]
async fn calls_of_an_earlier_phase_say_nothing_of_this_one() {
    let breaker = Breaker::new(settings());
    let late = || breaker.enter().expect("closed");
    let (succeeds, fails, given_up) = (late(), late(), late());
    (0..3).for_each(|_| fail(&breaker));
    tokio::time::advance(RECOVERED).await;
    let probe = breaker.enter().expect("the probe");

    succeeds.succeeded();
    drop(given_up);
    assert!(breaker.enter().is_err(), "the only probe is under way");
    fails.failed();
    assert_eq!(breaker.state(), State::HalfOpen);

    probe.succeeded();
    (0..2).for_each(|_| succeed(&breaker));
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_large_share_of_failures_opens_it_though_never_so_many_in_a_row() {
    let rate = Rate {
        failures: 0.5,
        window: Duration::from_secs(10),
        calls: 20,
    };
    let breaker = Breaker::new(Settings {
        rate: Some(rate),
        ..settings()
    });
    let mut calls = 0;
    while breaker.state() == State::Closed {
        succeed(&breaker);
        fail(&breaker);
        calls += 2;
        assert!(calls <= rate.calls, "open by then");
    }
    assert_eq!(calls, rate.calls, "no sooner");
}

#[tokio::test(start_paused = true)]
async fn a_share_of_failures_is_forgotten_with_its_window() {
    let rate = Rate {
        failures: 0.5,
        window: Duration::from_secs(10),
        calls: 20,
    };
    let breaker = Breaker::new(Settings {
        rate: Some(rate),
        ..settings()
    });
    for _ in 0..100 {
        succeed(&breaker);
        fail(&breaker);
        tokio::time::advance(Duration::from_secs(2)).await;
    }
    assert_eq!(breaker.state(), State::Closed, "ten calls in any window");
}

#[tokio::test(start_paused = true)]
async fn many_successes_keep_a_share_of_failures_small() {
    let rate = Rate {
        failures: 0.5,
        window: Duration::from_secs(10),
        calls: 20,
    };
    let breaker = Breaker::new(Settings {
        failures: 1_000,
        rate: Some(rate),
        ..settings()
    });
    // Counted without a lock, and yet counted: 100 successes to 90 failures.
    (0..100).for_each(|_| succeed(&breaker));
    (0..90).for_each(|_| fail(&breaker));
    assert_eq!(breaker.state(), State::Closed);
    (0..10).for_each(|_| fail(&breaker));
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_share_of_slow_calls_opens_it() {
    let slow = Slow {
        threshold: Duration::from_millis(100),
        share: 0.5,
        window: Duration::from_secs(60),
        calls: 4,
    };
    let breaker = Breaker::new(Settings {
        slow: Some(slow),
        ..settings()
    });
    for millis in [5, 200, 5, 200] {
        assert_eq!(breaker.state(), State::Closed);
        let permit = breaker.enter().expect("closed");
        tokio::time::advance(Duration::from_millis(millis)).await;
        permit.succeeded();
    }
    assert_eq!(breaker.state(), State::Open, "two of four were slow");

    tokio::time::advance(RECOVERED).await;
    let probe = breaker.enter().expect("a probe");
    tokio::time::advance(Duration::from_millis(200)).await;
    probe.succeeded();
    assert_eq!(breaker.state(), State::Open, "a slow probe is no recovery");
}
