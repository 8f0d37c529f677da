//! Each key has its allowance, and is told when to come again.

use std::{num::NonZeroU32, time::Duration};

use outrigger_resilience::rate_limit::{Decision, Limit, RateLimiter, SLOTS};
use proptest::prelude::*;

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

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_whatever_keys_come() {
    let count = |number| NonZeroU32::new(number).expect("not zero");
    let limiter = RateLimiter::new(Limit {
        requests: count(1),
        per: Duration::from_secs(3600),
        burst: count(1),
    });
    let mut keys = 0..=SLOTS;
    let shared = keys.any(|key| matches!(limiter.check(&key), Decision::Refused { .. }));
    assert!(shared, "more keys than places, so two share one");
}

proptest! {
    /// Against a bucket that holds time: so much of it at most, a period for each request. It says exactly what is
    /// allowed, what is left, and how long to wait.
    #[test]
    fn a_key_has_what_a_bucket_of_time_holds(
        requests in 1..50_u32,
        burst in 1..20_u32,
        pauses in prop::collection::vec(0..200_u64, 1..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let limiter = RateLimiter::new(Limit {
                requests: NonZeroU32::new(requests).expect("not zero"),
                per: Duration::from_secs(1),
                burst: NonZeroU32::new(burst).expect("not zero"),
            });
            let period = Duration::from_secs(1) / requests;
            let full = period * burst;
            let mut held = full;
            for pause in pauses.into_iter().map(Duration::from_millis) {
                tokio::time::advance(pause).await;
                held = full.min(held + pause);
                let expected = match held.checked_sub(period) {
                    Some(left) => {
                        held = left;
                        let remaining = (left.as_nanos() / period.as_nanos()) as u32;
                        Decision::Allowed { remaining }
                    }
                    None => Decision::Refused { retry_after: period - held },
                };
                prop_assert_eq!(limiter.check(&"ada"), expected);
            }
            Ok(())
        })?;
    }
}
