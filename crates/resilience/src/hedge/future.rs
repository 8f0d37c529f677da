//! One call, and perhaps a second request for it.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::PoisonError,
    time::Duration,
};

use env::Instant;
use tower::{Service, ServiceExt};

use super::{Delay, Error, HedgeLayer, Outcome};
use crate::observe::Decision;

/// The answer of a [`HedgeService`](super::HedgeService). Boxed, for the two requests under way have no names.
pub type ResponseFuture<R, E> = Pin<Box<dyn Future<Output = Result<R, Error<E>>> + Send>>;

/// Calls `service`, which is ready, and a clone of it where that takes long.
pub(super) async fn hedged<S, C, R>(
    mut service: S,
    request: R,
    layer: HedgeLayer<C>,
) -> Result<S::Response, Error<S::Error>>
where
    S: Service<R> + Clone,
    C: Fn(&R) -> Option<R>,
{
    if layer.counts {
        layer.budget.deposit();
    }
    let second = layer.delay().zip((layer.copy)(&request));
    let spare = service.clone();
    let begun = env::instant();
    let mut first = pin!(service.call(request));
    let Some((delay, copy)) = second else {
        let answer = first.await;
        return layer.answered(begun, answer);
    };
    tokio::select! {
        biased;
        answer = &mut first => return layer.answered(begun, answer),
        () = env::sleep(delay) => {}
    }
    if !layer.budget.withdraw() {
        let answer = first.await;
        return layer.answered(begun, answer);
    }
    layer.reporter.report(Decision::Hedged);
    let mut second = pin!(spare.oneshot(copy));
    // The first good answer counts; of two bad ones, the later.
    let (who, answer) = tokio::select! {
        biased;
        answer = &mut first => match answer {
            Ok(_) => (Outcome::First, answer),
            Err(_) => (Outcome::Second, second.await),
        },
        answer = &mut second => match answer {
            Ok(_) => (Outcome::Second, answer),
            Err(_) => (Outcome::First, first.await),
        },
    };
    if who == Outcome::Second && answer.is_ok() {
        layer.reporter.report(Decision::HedgeWon);
    }
    layer.answered(begun, answer)
}

impl<C> HedgeLayer<C> {
    /// When the second request is due; `None` while too little is known.
    fn delay(&self) -> Option<Duration> {
        match self.delay {
            Delay::Fixed(delay) => Some(delay),
            Delay::Share { share, least } => {
                let latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
                latency.quantile(share).map(|delay| delay.max(least))
            }
        }
    }

    /// A call took this long, by whichever request: what its caller waited.
    fn answered<R, E>(&self, begun: Instant, answer: Result<R, E>) -> Result<R, Error<E>> {
        if answer.is_ok() && matches!(self.delay, Delay::Share { .. }) {
            let took = env::instant().saturating_duration_since(begun);
            let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
            latency.record(took);
        }
        answer.map_err(Error)
    }
}
