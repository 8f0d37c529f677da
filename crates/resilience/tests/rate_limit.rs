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
    /// In no stretch of time is more allowed than the burst and what the time is worth; and who waits as long as
    /// was said is let in.
    #[test]
    fn no_more_is_allowed_than_the_limit_says(
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
            let begun = env::instant();
            let mut allowed = 0_u32;
            for pause in pauses {
                tokio::time::advance(Duration::from_millis(pause)).await;
                match limiter.check(&"ada") {
                    Decision::Allowed { remaining } => {
                        allowed += 1;
                        prop_assert!(remaining < burst);
                    }
                    Decision::Refused { retry_after } => {
                        tokio::time::advance(retry_after).await;
                        let then = limiter.check(&"ada");
                        prop_assert!(matches!(then, Decision::Allowed { .. }), "{then:?}");
                        allowed += 1;
                    }
                }
                let worth = begun.elapsed().as_secs_f64() * f64::from(requests);
                prop_assert!(f64::from(allowed) <= f64::from(burst) + worth + 0.001);
            }
            Ok(())
        })?;
    }
}
