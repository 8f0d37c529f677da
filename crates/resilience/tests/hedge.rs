//! A second request is sent where the first takes long, within the budget, and the first good answer counts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use outrigger_resilience::{
    hedge::{Delay, HedgeLayer, Latency, latency},
    retry::{Budget, budget},
};
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What a call came to: the answer, the time, and the requests. The first and the second take so long and end so.
async fn hedged(
    first: (u64, bool),
    second: (u64, bool),
    budget: Budget,
) -> (Option<u32>, Duration, u32) {
    let requests = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&requests);
    let layer = HedgeLayer::new(Delay::Fixed(millis(10)), |(): &()| Some(())).budget(budget);
    let service = layer.layer(service_fn(move |()| {
        let request = counted.fetch_add(1, Ordering::Relaxed) + 1;
        let (time, well) = if request == 1 { first } else { second };
        async move {
            env::sleep(millis(time)).await;
            well.then_some(request).ok_or("failed")
        }
    }));
    let begun = env::instant();
    let answer = service.oneshot(()).await.ok();
    (answer, begun.elapsed(), requests.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_needs_no_second_request() {
    let ended = hedged((5, true), (5, true), Budget::default()).await;
    assert_eq!(ended, (Some(1), millis(5), 1));
}

#[tokio::test(start_paused = true)]
async fn the_second_request_answers_where_the_first_takes_long() {
    let ended = hedged((500, true), (5, true), Budget::default()).await;
    assert_eq!(ended, (Some(2), millis(15), 2));
}

#[tokio::test(start_paused = true)]
async fn a_good_answer_is_worth_waiting_for() {
    let ended = hedged((500, true), (5, false), Budget::default()).await;
    assert_eq!(ended, (Some(1), millis(500), 2));
    let ended = hedged((20, false), (500, true), Budget::default()).await;
    assert_eq!(ended, (Some(2), millis(510), 2));
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_the_first_is_waited_for() {
    let none = Budget::new(budget::Settings {
        share: 0.0,
        least: 0,
        ..budget::Settings::default()
    });
    let ended = hedged((500, true), (5, true), none).await;
    assert_eq!(ended, (Some(1), millis(500), 1));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_not_another_call_to_the_budget_of_the_retries() {
    let requests = Arc::new(AtomicU32::new(0));
    let settings = budget::Settings {
        share: 1.0,
        least: 0,
        ..budget::Settings::default()
    };
    for (within, asked) in [(false, 2), (true, 1)] {
        requests.store(0, Ordering::Relaxed);
        let layer = HedgeLayer::new(Delay::Fixed(millis(10)), |(): &()| Some(()));
        let layer = match within {
            true => layer.within(Budget::new(settings)),
            false => layer.budget(Budget::new(settings)),
        };
        let counted = Arc::clone(&requests);
        let service = layer.layer(service_fn(move |()| {
            counted.fetch_add(1, Ordering::Relaxed);
            async {
                env::sleep(millis(500)).await;
                Ok::<_, &str>(())
            }
        }));
        service.oneshot(()).await.expect("answered");
        assert_eq!(requests.load(Ordering::Relaxed), asked);
    }
}

proptest! {
    /// Beside all calls kept and sorted: the estimate is no less, and no more than a quarter of a doubling above.
    #[test]
    fn a_quantile_is_near_the_true_one(
        mut calls in prop::collection::vec(1..1_000_000_u64, latency::LEAST as usize..500),
        share in 0.01..1.0_f64,
    ) {
        let mut measured = Latency::new();
        calls.iter().for_each(|call| measured.record(Duration::from_micros(*call)));
        calls.sort_unstable();
        let rank = (share * calls.len() as f64).ceil() as usize;
        let exact = calls[rank.max(1) - 1] as f64 / 1e6;
        let estimate = measured.quantile(share).expect("enough calls").as_secs_f64();
        prop_assert!(estimate >= exact * 0.999 && estimate <= exact * 1.2, "{estimate} for {exact}");
    }
}
