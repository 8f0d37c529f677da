//! Calls that failed are made again, within bounds: attempts, waits, the deadline, the budget.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use env::RequestContext;
use outrigger_resilience::{
    observe::{Decision, Reporter},
    retry::{Backoff, Budget, GaveUp, RetryLayer, Settings, Verdict, budget, policy},
};
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};

fn verdict(ended: &Result<u32, Option<Duration>>) -> Verdict {
    match ended {
        Ok(_) => Verdict::Keep,
        Err(None) => Verdict::Again,
        Err(Some(wait)) => Verdict::AgainAfter(*wait),
    }
}

/// How a service that fails so is called: the answer, the calls, and what was reported.
async fn call(
    settings: Settings,
    budget: Budget,
    repeatable: bool,
    fails: impl Fn(u32) -> Option<Option<Duration>> + Clone + Send + 'static,
) -> (Result<u32, Option<Duration>>, u32, Vec<&'static str>) {
    let (calls, told) = (
        Arc::new(AtomicU32::new(0)),
        Arc::new(Mutex::new(Vec::new())),
    );
    let (counted, heard) = (Arc::clone(&calls), Arc::clone(&told));
    let observer = move |_: &str, decision: &Decision| {
        heard.lock().expect("unpoisoned").push(decision.name());
    };
    let layer = RetryLayer::new(settings, verdict, move |(): &()| repeatable.then_some(()))
        .budget(budget)
        .reporter(Reporter::new("users", Arc::new(observer)));
    let service = layer.layer(service_fn(move |()| {
        let call = counted.fetch_add(1, Ordering::Relaxed) + 1;
        let answer = fails(call).map_or(Ok(call), Err);
        async move { answer }
    }));
    let answer = service.oneshot(()).await;
    let told = told.lock().expect("unpoisoned").clone();
    (answer, calls.load(Ordering::Relaxed), told)
}

#[tokio::test(start_paused = true)]
async fn a_call_is_made_again_until_it_succeeds() {
    let twice = |call| (call < 3).then_some(None);
    let (answer, calls, told) = call(Settings::default(), Budget::default(), true, twice).await;
    assert_eq!((answer, calls), (Ok(3), 3));
    assert_eq!(told, ["retried", "retried"]);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded_and_the_last_failure_is_the_answer() {
    let (answer, calls, told) =
        call(Settings::default(), Budget::default(), true, |_| Some(None)).await;
    assert_eq!((answer, calls), (Err(None), 3));
    assert_eq!(told.last(), Some(&"retry-refused-attempts"));
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_made_twice_is_not() {
    let (_, calls, _) = call(Settings::default(), Budget::default(), false, |_| {
        Some(None)
    })
    .await;
    assert_eq!(calls, 1);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let begun = env::instant();
    let second = Duration::from_secs(1);
    let once = move |call| (call == 1).then_some(Some(second));
    let (answer, _, _) = call(Settings::default(), Budget::default(), true, once).await;
    assert_eq!(answer, Ok(2));
    assert!(begun.elapsed() >= second);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_that_is_too_long_is_not_waited_for() {
    let begun = env::instant();
    let hour = |_| Some(Some(Duration::from_secs(3_600)));
    let (_, calls, told) = call(Settings::default(), Budget::default(), true, hour).await;
    assert_eq!((calls, told), (1, vec!["retry-refused-wait"]));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_after_the_deadline() {
    let context = RequestContext::new().within(Duration::from_millis(500));
    let second = |_| Some(Some(Duration::from_secs(1)));
    let called = call(Settings::default(), Budget::default(), true, second);
    let (_, calls, told) = context.scope(called).await;
    assert_eq!((calls, told), (1, vec!["retry-refused-deadline"]));
}

/// The storm that a budget prevents: everything fails, and a thousand calls want three attempts each.
#[tokio::test(start_paused = true)]
async fn g9_retries_add_no_more_than_their_share() {
    let budget = Budget::new(budget::Settings {
        share: 0.2,
        least: 1,
        window: Duration::from_secs(10),
    });
    let settings = Settings {
        backoff: Backoff {
            base: Duration::ZERO,
            cap: Duration::ZERO,
        },
        ..Settings::default()
    };
    let mut made = 0;
    for _ in 0..1_000 {
        made += call(settings, budget.clone(), true, |_| Some(None)).await.1;
    }
    // 1,000 calls, a fifth of them again, and one a second.
    assert!((1_150..=1_210).contains(&made), "{made} calls, not 3,000");
}

proptest! {
    /// Whatever is asked, an attempt follows only within all bounds, and the budget is asked only then.
    #[test]
    fn an_attempt_follows_within_all_bounds(
        attempts in 1..6_u32,
        most in 1..6_u32,
        asked in prop::option::of(0..5_000_u64),
        remaining in prop::option::of(0..5_000_u64),
        chance in 0.0..1.0,
        affordable: bool,
    ) {
        let settings = Settings { attempts: most, ..Settings::default() };
        let (asked, remaining) = (asked.map(Duration::from_millis), remaining.map(Duration::from_millis));
        let mut spent = false;
        let next = policy::next(&settings, attempts, asked, remaining, chance, || {
            spent = true;
            affordable
        });
        match next {
            Ok(wait) => {
                prop_assert!(attempts < most && affordable && spent);
                prop_assert!(asked.is_none_or(|asked| asked <= wait && asked <= settings.longest_wait));
                prop_assert!(remaining.is_none_or(|remaining| wait < remaining));
                prop_assert!(wait <= settings.longest_wait + settings.backoff.cap);
            }
            Err(GaveUp::Budget) => prop_assert!(spent && !affordable),
            Err(_) => prop_assert!(!spent, "nothing is spent on what does not follow"),
        }
    }

    /// Full jitter: anywhere between nothing and a bound that doubles up to the cap.
    #[test]
    fn waits_double_up_to_the_cap(attempts in 1..100_u32, chance in 0.0..=1.0) {
        let backoff = Backoff { base: Duration::from_millis(10), cap: Duration::from_secs(1) };
        prop_assert!(backoff.wait(attempts, chance) <= backoff.bound(attempts));
        prop_assert_eq!(backoff.wait(attempts, 0.0), Duration::ZERO);
        prop_assert_eq!(backoff.wait(attempts, 1.0), backoff.bound(attempts));
        let doubled = (backoff.bound(attempts) * 2).min(backoff.cap);
        prop_assert_eq!(backoff.bound(attempts + 1), doubled);
    }

    /// Against a model that remembers every call: what is granted keeps to the share of the calls in the window.
    #[test]
    fn a_ledger_grants_a_share_of_the_calls(
        steps in prop::collection::vec((0..800_u64, 0..4_u32), 1..200),
    ) {
        let settings = budget::Settings { share: 0.2, least: 1, window: Duration::from_secs(10) };
        let mut ledger = budget::Ledger::new(settings);
        let (mut now, mut calls, mut granted) = (env::instant(), Vec::new(), Vec::new());
        for (pause, deposit) in steps {
            now += Duration::from_millis(pause);
            ledger.deposit(now, deposit);
            calls.extend(std::iter::repeat_n(now, deposit as usize));
            let within = |times: &[env::Instant], age: Duration| {
                times.iter().filter(|at| now - **at < age).count() as f64
            };
            // The window is cut into tenths, so the latest nine of them are always counted.
            let (young, old) = (settings.window * 9 / 10, settings.window);
            let least = f64::from(settings.least) * 10.0;
            if ledger.withdraw(now) {
                prop_assert!(within(&granted, young) + 1.0 <= least + 0.2 * within(&calls, old) + 1e-9);
                granted.push(now);
            } else {
                prop_assert!(within(&granted, old) + 1.0 > least + 0.2 * within(&calls, young) - 1e-9);
            }
        }
    }
}
