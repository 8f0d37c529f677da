//! What the layers let through, what they refuse, and that they call only what is ready.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    num::NonZeroU32,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use env::RequestContext;
use outrigger_resilience::{
    adaptive::{self, AdaptiveLayer, Limiter},
    breaker::{self, Breaker, BreakerLayer, State},
    bulkhead::{self, Bulkhead, BulkheadLayer},
    deadline::{self, DeadlineLayer},
    fallback::FallbackLayer,
    hedge::{Delay, HedgeLayer},
    rate_limit::{self, Limit, RateLimitLayer, RateLimiter},
    retry::{self, RetryLayer, Verdict},
    shed::{Capacity, Priority, Shares, ShedLayer, Shedder},
};
use tower::{Layer, Service, ServiceExt, service_fn};

fn breaker() -> Breaker {
    Breaker::new(breaker::Settings {
        failures: 2,
        ..breaker::Settings::default()
    })
}

fn limiter(burst: u32) -> Arc<RateLimiter<&'static str>> {
    let count = |number| NonZeroU32::new(number).expect("not zero");
    Arc::new(RateLimiter::new(Limit {
        requests: count(1),
        per: Duration::from_secs(1),
        burst: count(burst),
    }))
}

/// Refuses to be called without having been found ready before.
#[derive(Default)]
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    /// A clone of a ready service is not ready.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<&'static str> for Strict {
    type Response = &'static str;
    type Error = Infallible;
    type Future = Ready<Result<&'static str, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: &'static str) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called, but not ready");
        ready(Ok(request))
    }
}

/// Calls `layer` over a service that must be ready, through clones as well.
async fn only_ready_services_are_called<L>(layer: L)
where
    L: Layer<Strict>,
    L::Service: Service<&'static str, Response = &'static str> + Clone,
    <L::Service as Service<&'static str>>::Error: std::fmt::Debug,
{
    let mut service = layer.layer(Strict::default());
    for _ in 0..3 {
        let service = service.ready().await.expect("ready");
        let clone = service.clone();
        assert_eq!(service.call("ada").await.expect("answered"), "ada");
        assert_eq!(clone.oneshot("ada").await.expect("answered"), "ada");
    }
}

#[tokio::test(start_paused = true)]
async fn every_layer_calls_only_what_is_ready() {
    only_ready_services_are_called(BreakerLayer::new(breaker(), Result::is_err)).await;
    only_ready_services_are_called(DeadlineLayer::of_caller()).await;
    only_ready_services_are_called(DeadlineLayer::within(Duration::from_secs(1))).await;
    let key = |key: &&'static str| *key;
    only_ready_services_are_called(RateLimitLayer::new(limiter(9), key)).await;
    let copy = |request: &&'static str| Some(*request);
    let verdict = |_: &Result<_, _>| Verdict::Keep;
    only_ready_services_are_called(RetryLayer::new(retry::Settings::default(), verdict, copy))
        .await;
    let bulkhead = Bulkhead::new(bulkhead::Settings::default());
    only_ready_services_are_called(BulkheadLayer::new(bulkhead)).await;
    let limiter = Limiter::new(adaptive::Settings::default());
    let ended = |_: &Result<_, _>| adaptive::Ended::Answered;
    only_ready_services_are_called(AdaptiveLayer::new(limiter, ended)).await;
    only_ready_services_are_called(HedgeLayer::new(Delay::default(), copy)).await;
    let shedder = Shedder::new(Capacity::Fixed(9), Shares::default());
    only_ready_services_are_called(ShedLayer::new(shedder, |_: &&str| Priority::Normal)).await;
    let none = |_: &Result<_, _>| ready(None);
    only_ready_services_are_called(FallbackLayer::new(Result::is_err, none)).await;
}

/// The attempts after the first, and the second request, go to what is ready too.
#[tokio::test(start_paused = true)]
async fn what_is_called_again_is_ready() {
    let copy = |request: &&'static str| Some(*request);
    let settings = retry::Settings::default();
    let again = |_: &Result<_, _>| Verdict::Again;
    let service = RetryLayer::new(settings, again, copy).layer(Strict::default());
    assert_eq!(service.oneshot("ada").await, Ok("ada"));
    let hedge = HedgeLayer::new(Delay::Fixed(Duration::from_millis(1)), copy);
    let service = hedge.layer(Slow::default());
    assert_eq!(service.oneshot("ada").await, Ok("ada"));
}

/// [`Strict`], and slow.
#[derive(Default, Clone)]
struct Slow(Strict);

impl Service<&'static str> for Slow {
    type Response = &'static str;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<&'static str, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: &'static str) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async {
            env::sleep(Duration::from_secs(1)).await;
            answer.await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_breaker_refuses_what_fails_without_calling_it() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let breaker = breaker();
    let failure = |ended: &Result<u16, &str>| ended.is_err() || matches!(ended, Ok(500..));
    let service = BreakerLayer::new(breaker.clone(), failure).layer(service_fn(
        move |answer: Result<u16, &'static str>| {
            counted.fetch_add(1, Ordering::Relaxed);
            ready(answer)
        },
    ));
    let call = |answer| service.clone().oneshot(answer);

    assert_eq!(call(Err("gone")).await, Err(breaker::Error::Inner("gone")));
    assert_eq!(call(Ok(404)).await, Ok(404), "no failure of the service");
    assert_eq!(call(Err("gone")).await, Err(breaker::Error::Inner("gone")));
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(call(Ok(503)).await, Ok(503), "an answer, and a failure");
    assert_eq!(breaker.state(), State::Open);
    let refused = call(Ok(200)).await;
    assert!(matches!(refused, Err(breaker::Error::Open(_))));
    assert_eq!(calls.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn a_call_through_a_breaker_that_is_given_up_counts_as_neither() {
    let breaker = breaker();
    let never = service_fn(|()| std::future::pending::<Result<(), &str>>());
    let service = BreakerLayer::new(breaker.clone(), Result::is_err).layer(never);
    for _ in 0..10 {
        let call = service.clone().oneshot(());
        assert!(env::timeout(Duration::from_secs(1), call).await.is_err());
    }
    assert_eq!(breaker.state(), State::Closed);
}

/// Answers after that time with the time that its caller has left.
async fn after(time: Duration) -> Result<Option<Duration>, Infallible> {
    env::sleep(time).await;
    Ok(RequestContext::current().remaining())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_limit_and_knows_what_is_left() {
    let service = DeadlineLayer::within(seconds(3)).layer(service_fn(after));
    let call = |time| service.clone().oneshot(time);
    assert_eq!(call(seconds(1)).await, Ok(Some(seconds(2))));
    let begun = env::instant();
    let late = call(seconds(9)).await;
    assert_eq!(late, Err(deadline::Elapsed.into()));
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_earlier_deadline_is_kept() {
    for layer in [
        DeadlineLayer::of_caller(),
        DeadlineLayer::within(seconds(60)),
    ] {
        let begun = env::instant();
        let caller = RequestContext::new().within(seconds(2));
        let call = layer.layer(service_fn(after)).oneshot(seconds(9));
        assert_eq!(caller.scope(call).await, Err(deadline::Elapsed.into()));
        assert_eq!(begun.elapsed().as_secs(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_deadline_a_call_may_take_its_time() {
    let service = DeadlineLayer::of_caller().layer(service_fn(after));
    assert_eq!(service.oneshot(seconds(600)).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn what_is_late_already_is_not_called() {
    let never = service_fn(|()| async { panic!("called") as Result<(), Infallible> });
    let caller = RequestContext::new().within(Duration::ZERO);
    let call = DeadlineLayer::of_caller().layer(never).oneshot(());
    assert_eq!(caller.scope(call).await, Err(deadline::Elapsed.into()));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_refuses_by_key_and_says_when_to_come_again() {
    let layer = RateLimitLayer::new(limiter(1), |key: &&'static str| *key);
    let service = layer.layer(Strict::default());
    let call = |key| service.clone().oneshot(key);
    assert_eq!(call("ada").await, Ok("ada"));
    let Err(rate_limit::Error::Refused(refused)) = call("ada").await else {
        panic!("refused")
    };
    assert_eq!(call("grace").await, Ok("grace"));
    tokio::time::advance(refused.retry_after).await;
    assert_eq!(
        call("ada").await,
        Ok("ada"),
        "after the time that was named"
    );
}
