//! The sliding windows against an exact computation, and their bounds.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use outrigger_telemetry::{
    PerformanceMonitor,
    performance::{OTHER, Options, Snapshot},
};
use proptest::prelude::*;
use tokio::time::advance;

const WINDOW: Duration = Duration::from_secs(300);
const TURN: Duration = Duration::from_secs(30);

fn in_paused_time<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

struct Sample {
    turn: u128,
    elapsed: Duration,
    success: bool,
}

/// What a snapshot of `samples` must be, computed from all of them.
fn check(snapshot: &Snapshot, samples: &[Sample], age: Duration) -> Result<(), TestCaseError> {
    let now = age.as_nanos() / TURN.as_nanos();
    let oldest = (now + 1).saturating_sub(10);
    let seen: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.turn >= oldest)
        .collect();
    let mut sorted: Vec<Duration> = seen.iter().map(|sample| sample.elapsed).collect();
    sorted.sort();

    let count = seen.len() as u64;
    let errors = seen.iter().filter(|sample| !sample.success).count() as u64;
    prop_assert_eq!((snapshot.count, snapshot.errors), (count, errors));
    let over = age - TURN * u32::try_from(oldest).unwrap();
    prop_assert_eq!(snapshot.over, over);
    prop_assert!(over <= WINDOW, "no older than the window");
    prop_assert!(
        age < WINDOW || over > WINDOW - TURN,
        "no younger than a tenth less"
    );
    if count == 0 {
        prop_assert_eq!(
            (snapshot.mean, snapshot.p99_9),
            (Duration::ZERO, Duration::ZERO)
        );
        return Ok(());
    }
    prop_assert!((snapshot.error_rate - errors as f64 / count as f64).abs() < 1e-9);
    prop_assert!((snapshot.throughput - count as f64 / over.as_secs_f64()).abs() < 1e-6);
    let mean = sorted.iter().sum::<Duration>().as_secs_f64() / count as f64;
    prop_assert!((snapshot.mean.as_secs_f64() - mean).abs() < 1e-6);
    for (quantile, told) in [
        (0.5, snapshot.p50),
        (0.9, snapshot.p90),
        (0.95, snapshot.p95),
        (0.99, snapshot.p99),
        (0.999, snapshot.p99_9),
    ] {
        let rank = (quantile * count as f64).ceil() as usize;
        let exact = sorted[rank.max(1) - 1];
        let limit = exact.mul_f64(1.01) + Duration::from_micros(1);
        prop_assert!(
            told >= exact && told <= limit,
            "p{quantile}: {told:?} for {exact:?}"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_snapshot_is_what_an_exact_computation_gives(
        steps in prop::collection::vec(
            (0..40_000_u64, prop_oneof![1..2_000_u64, 1..60_000_000_u64], prop::bool::weighted(0.9)),
            1..300,
        ),
        idle in prop_oneof![Just(0), 0..700_u64],
    ) {
        in_paused_time(async {
            let monitor = PerformanceMonitor::default();
            let start = env::instant();
            let mut samples = Vec::new();
            for (wait, micros, success) in steps {
                advance(Duration::from_millis(wait)).await;
                let elapsed = Duration::from_micros(micros);
                monitor.record("op", elapsed, success);
                let turn = start.elapsed().as_nanos() / TURN.as_nanos();
                samples.push(Sample { turn, elapsed, success });
                if samples.len() % 50 == 0 {
                    check(&monitor.snapshot("op").unwrap(), &samples, start.elapsed())?;
                }
            }
            advance(Duration::from_secs(idle)).await;
            check(&monitor.snapshot("op").unwrap(), &samples, start.elapsed())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_window_is_forgotten() {
    let monitor = PerformanceMonitor::default();
    monitor.record("op", Duration::from_secs(1), false);
    advance(WINDOW).await;
    let snapshot = monitor.snapshot("op").unwrap();
    assert_eq!(
        (snapshot.count, snapshot.errors, snapshot.p50),
        (0, 0, Duration::ZERO)
    );
    assert_eq!((snapshot.error_rate, snapshot.throughput), (0.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn an_absurd_duration_counts_as_the_longest() {
    let monitor = PerformanceMonitor::default();
    monitor.record("op", Duration::MAX, true);
    monitor.record("op", Duration::MAX, true);
    let snapshot = monitor.snapshot("op").unwrap();
    assert_eq!(snapshot.count, 2);
    assert!(snapshot.p50 >= Duration::from_secs(60) && snapshot.p50 < Duration::from_secs(61));
}

#[tokio::test(start_paused = true)]
async fn operations_beyond_the_limit_are_counted_together() {
    let monitor = PerformanceMonitor::new(Options {
        operations: 3,
        ..Options::default()
    });
    for number in 0..100 {
        monitor.record(&format!("op {number}"), Duration::from_millis(1), true);
    }
    let snapshots = monitor.snapshots();
    let names: Vec<&str> = snapshots.iter().map(|one| one.operation.as_str()).collect();
    assert_eq!(names, [OTHER, "op 0", "op 1", "op 2"]);
    assert_eq!(snapshots[0].count, 97);
    assert_eq!(monitor.snapshot("op 99"), None);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_serializes_in_milliseconds() {
    let monitor = PerformanceMonitor::default();
    advance(Duration::from_secs(2)).await;
    monitor.record("op", Duration::from_millis(3), true);
    let json = serde_json::to_value(monitor.snapshot("op")).unwrap();
    assert_eq!(json["over_ms"], 2000.0);
    assert_eq!(json["mean_ms"], 3.0);
    assert_eq!(json["throughput"], 0.5);
}
