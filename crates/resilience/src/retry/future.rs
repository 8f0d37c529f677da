//! The attempts of one call.

use std::{future::Future, pin::Pin};

use env::RequestContext;
use tower::{Service, ServiceExt};

use super::{RetryLayer, Verdict, policy};
use crate::{chance, observe::Decision};

/// The answer of a [`RetryService`](super::RetryService). Boxed, for the waits between its attempts have no names.
pub type ResponseFuture<R, E> = Pin<Box<dyn Future<Output = Result<R, E>> + Send>>;

/// Calls `service`, which is ready, until an answer is kept or nothing may follow.
pub(super) async fn attempts<S, V, C, R>(
    mut service: S,
    request: R,
    layer: RetryLayer<V, C>,
) -> Result<S::Response, S::Error>
where
    S: Service<R>,
    V: Fn(&Result<S::Response, S::Error>) -> Verdict,
    C: Fn(&R) -> Option<R>,
{
    let mut following = (layer.copy)(&request);
    layer.budget.deposit();
    let mut ended = service.call(request).await;
    for attempts in 1_u32.. {
        let asked = match (layer.verdict)(&ended) {
            Verdict::Keep => break,
            Verdict::Again => None,
            Verdict::AgainAfter(wait) => Some(wait),
        };
        let Some(request) = following.take() else {
            break;
        };
        let remaining = RequestContext::current().remaining();
        let budget = || layer.budget.withdraw();
        match policy::next(
            &layer.settings,
            attempts,
            asked,
            remaining,
            chance(),
            budget,
        ) {
            Ok(wait) => {
                layer.reporter.report(Decision::Retried { attempts, wait });
                env::sleep(wait).await;
            }
            Err(why) => {
                layer.reporter.report(Decision::RetryRefused(why));
                break;
            }
        }
        following = (layer.copy)(&request);
        ended = match service.ready().await {
            Ok(ready) => ready.call(request).await,
            Err(error) => Err(error),
        };
    }
    ended
}
