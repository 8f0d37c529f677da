//! Each key has its allowance, and is told when to come again.

use std::{num::NonZeroU32, time::Duration};

use outrigger_resilience::rate_limit::{Decision, Limit, RateLimiter};

fn limiter() -> RateLimiter<&'static str> {
    let count = |number| NonZeroU32::new(number).expect("not zero");
    RateLimiter::new(Limit {
        requests: count(10),
        per: Duration::from_secs(1),
        burst: count(3),
    })
}

fn allowed(limiter: &RateLimiter<&'static str>, key: &'static str) -> bool {
    matches!(limiter.check(&key), Decision::Allowed { .. })
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_allowed_and_then_one_at_a_time() {
    let limiter = limiter();
    assert_eq!(limiter.check(&"ada"), Decision::Allowed { remaining: 2 });
    assert!(allowed(&limiter, "ada") && allowed(&limiter, "ada"));
    let Decision::Refused { retry_after } = limiter.check(&"ada") else {
        panic!("refused")
    };
    assert!(retry_after <= Duration::from_millis(100), "{retry_after:?}");

    tokio::time::advance(retry_after).await;
    assert!(allowed(&limiter, "ada"), "after the time that was named");
    assert!(!allowed(&limiter, "ada"));
}

#[tokio::test(start_paused = true)]
async fn one_key_does_not_spend_what_another_has() {
    let limiter = limiter();
    while allowed(&limiter, "ada") {}
    assert!(allowed(&limiter, "grace"));
}
