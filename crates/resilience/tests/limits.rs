//! What bounds the calls at once: bulkhead, adaptive limit and shedding; and what comes in their place.

use std::{
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use outrigger_resilience::{
    adaptive::{self, AdaptiveLayer, Ended, Gradient, Limiter},
    bulkhead::{self, Bulkhead, BulkheadLayer},
    fallback::FallbackLayer,
    observe::{Decision, Reporter},
    shed::{self, Capacity, Priority, Shares, ShedLayer, Shedder},
};
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

async fn after(time: Duration) -> Result<(), Infallible> {
    env::sleep(time).await;
    Ok(())
}

/// Writes down what is decided.
fn listener() -> (Arc<Mutex<Vec<&'static str>>>, Reporter) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let observer = move |_: &str, decision: &Decision| {
        heard.lock().expect("unpoisoned").push(decision.name());
    };
    (told, Reporter::new("users", Arc::new(observer)))
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_holds_so_many_and_lets_so_many_wait() {
    let settings = bulkhead::Settings {
        concurrent: 2,
        waiting: 1,
        patience: millis(100),
    };
    let (told, reporter) = listener();
    let bulkhead = Bulkhead::reporting(settings, reporter);
    let service = BulkheadLayer::new(bulkhead.clone()).layer(service_fn(after));
    let begun = env::instant();
    let calls = [50, 50, 10, 10].map(|time| tokio::spawn(service.clone().oneshot(millis(time))));
    let mut ended = Vec::new();
    for call in calls {
        ended.push(call.await.expect("joined").is_ok());
    }
    assert_eq!(
        ended,
        [true, true, true, false],
        "the fourth is one too many"
    );
    assert_eq!(begun.elapsed(), millis(60), "the third waited for a place");
    assert_eq!(bulkhead.inside(), 0);
    assert_eq!(*told.lock().expect("unpoisoned"), ["bulkhead-refused"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_at_a_bulkhead_for_longer_than_its_patience() {
    let settings = bulkhead::Settings {
        concurrent: 1,
        waiting: 9,
        patience: millis(100),
    };
    let service = BulkheadLayer::new(Bulkhead::new(settings)).layer(service_fn(after));
    let long = tokio::spawn(service.clone().oneshot(millis(1_000)));
    tokio::task::yield_now().await;
    let begun = env::instant();
    assert!(service.oneshot(millis(1)).await.is_err());
    assert_eq!(begun.elapsed(), millis(100));
    assert!(long.await.expect("joined").is_ok());
}

/// A service that answers 10 calls at once in 10 ms, and more of them in proportion later.
fn took(in_flight: u32) -> Duration {
    millis(10) * in_flight.max(10) / 10
}

#[test]
fn an_adaptive_limit_finds_what_a_service_can_do() {
    let settings = adaptive::Settings {
        initial: 100,
        ..adaptive::Settings::default()
    };
    let mut gradient = Gradient::new(settings);
    (0..20).for_each(|_| gradient.answered(millis(10), 1));
    // A load that never ends: what calls take then is not what they need.
    for call in 0..100_000 {
        let in_flight = gradient.limit();
        gradient.answered(took(in_flight), in_flight);
        let limit = gradient.limit();
        assert!(call < 200 || limit <= 40, "{limit} after {call} calls");
    }
    let mut limits: Vec<_> = (0..1_000)
        .map(|_| {
            let in_flight = gradient.limit();
            gradient.answered(took(in_flight), in_flight);
            gradient.limit()
        })
        .collect();
    limits.sort_unstable();
    assert!((10..=40).contains(&limits[500]), "{}", limits[500]);
    // And it is not thought for ever that the service is slow.
    for _ in 0..20_000 {
        let in_flight = gradient.limit();
        gradient.answered(took(in_flight) / 4, in_flight);
    }
    let settled = gradient.limit();
    assert!((10..=40).contains(&settled) || settled == 4, "{settled}");
}

#[test]
fn calls_that_are_fast_enough_are_never_refused_to_measure_them() {
    let settings = adaptive::Settings {
        unhurried: millis(50),
        ..adaptive::Settings::default()
    };
    let mut gradient = Gradient::new(settings);
    for call in 0..100_000 {
        let before = gradient.limit();
        gradient.answered(millis(20), before);
        assert!(gradient.limit() >= before, "after {call} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn g9_beyond_the_limit_calls_are_refused_at_once() {
    let settings = adaptive::Settings {
        initial: 4,
        ..adaptive::Settings::default()
    };
    let limiter = Limiter::new(settings);
    let ended = |_: &Result<(), _>| Ended::Answered;
    let service = AdaptiveLayer::new(limiter.clone(), ended).layer(service_fn(after));
    let begun = env::instant();
    let calls = [(); 6].map(|()| tokio::spawn(service.clone().oneshot(millis(10))));
    let mut refused = 0;
    for call in calls {
        refused += u32::from(call.await.expect("joined").is_err());
    }
    assert_eq!((refused, limiter.in_flight()), (2, 0));
    assert_eq!(begun.elapsed(), millis(10));
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_makes_room() {
    let limiter = Limiter::new(adaptive::Settings::default());
    let ended = |_: &Result<(), _>| Ended::Answered;
    let service = AdaptiveLayer::new(limiter.clone(), ended).layer(service_fn(after));
    let call = env::timeout(millis(5), service.oneshot(millis(500)));
    assert!(call.await.is_err());
    assert_eq!(limiter.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn g9_what_matters_less_is_shed_first() {
    let (told, reporter) = listener();
    let shedder = Shedder::reporting(Capacity::Fixed(10), Shares::default(), reporter);
    let service = ShedLayer::new(shedder.clone(), |priority: &Priority| *priority)
        .layer(service_fn(|_: Priority| after(millis(10))));
    let mut calls = Vec::new();
    let mut send = |priority, count| {
        let sent = (0..count).map(|_| tokio::spawn(service.clone().oneshot(priority)));
        calls.extend(sent);
    };
    send(Priority::Low, 8);
    send(Priority::Normal, 8);
    send(Priority::Critical, 8);
    let mut taken = 0;
    for call in calls {
        match call.await.expect("joined") {
            Ok(()) => taken += 1,
            Err(error) => assert!(matches!(error, shed::Error::Overloaded(_))),
        }
    }
    assert_eq!((taken, shedder.in_flight()), (10, 0));
    let told = told.lock().expect("unpoisoned");
    let shed = |name| told.iter().filter(|told| **told == name).count();
    assert_eq!(
        (shed("shed-low"), shed("shed-normal"), shed("shed-critical")),
        (2, 5, 7)
    );
}

#[tokio::test]
async fn a_fallback_answers_in_place_of_a_failure() {
    let (told, reporter) = listener();
    let known = |ended: &Result<u16, &str>| ready((*ended == Err("gone")).then_some(1));
    let service = FallbackLayer::new(Result::is_err, known)
        .reporter(reporter)
        .layer(service_fn(|answer: Result<u16, &'static str>| {
            ready(answer)
        }));
    assert_eq!(service.clone().oneshot(Ok(7)).await, Ok(7));
    assert_eq!(service.clone().oneshot(Err("gone")).await, Ok(1));
    assert!(
        service.oneshot(Err("odd")).await.is_err(),
        "it has no answer to that"
    );
    assert_eq!(*told.lock().expect("unpoisoned"), ["fell-back"]);
}

proptest! {
    /// Whatever calls take, the limit stays within its bounds.
    #[test]
    fn a_limit_keeps_its_bounds(calls in prop::collection::vec((0..10_000_u64, 0..200_u32, any::<bool>()), 0..300)) {
        let settings = adaptive::Settings { least: 3, most: 50, ..adaptive::Settings::default() };
        let mut gradient = Gradient::new(settings);
        for (took, in_flight, overloaded) in calls {
            let before = gradient.limit();
            if overloaded {
                gradient.overloaded();
                prop_assert!(gradient.limit() <= before);
            } else {
                gradient.answered(Duration::from_micros(took), in_flight);
                if f64::from(in_flight) < f64::from(before) / 2.0 {
                    prop_assert_eq!(gradient.limit(), before, "it was not tried");
                }
            }
            prop_assert!((3..=50).contains(&gradient.limit()));
        }
    }

    /// What matters more has never less room, and none has more than there is.
    #[test]
    fn room_grows_with_priority(low in -1.0..2.0, normal in -1.0..2.0, capacity in 0..1_000_u32) {
        let shares = Shares { low, normal };
        let room = |priority| shares.room(priority, capacity);
        prop_assert!(room(Priority::Low) <= room(Priority::Normal));
        prop_assert!(room(Priority::Normal) <= room(Priority::Critical));
        prop_assert_eq!(room(Priority::Critical), capacity);
    }
}
