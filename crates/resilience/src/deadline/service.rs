//! A service whose calls have a deadline.

use std::{
    future::ready,
    task::{Context, Poll},
    time::Duration,
};

use env::RequestContext;
use tower::Service;

use super::{Elapsed, Error, ResponseFuture};
use crate::observe::{Decision, Reporter};

/// See [`DeadlineLayer`](super::DeadlineLayer).
#[derive(Debug, Clone)]
pub struct DeadlineService<S> {
    inner: S,
    limit: Option<Duration>,
    reporter: Reporter,
}

impl<S> DeadlineService<S> {
    pub(super) fn new(inner: S, limit: Option<Duration>, reporter: Reporter) -> Self {
        Self {
            inner,
            limit,
            reporter,
        }
    }
}

impl<S, R> Service<R> for DeadlineService<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let mut context = RequestContext::current();
        if let Some(limit) = self.limit {
            context = context.within(limit);
        }
        match context.remaining() {
            Some(Duration::ZERO) => {
                self.reporter.report(Decision::DeadlineElapsed);
                Box::pin(ready(Err(Elapsed.into())))
            }
            Some(remaining) => {
                let call = context.scope(self.inner.call(request));
                let reporter = self.reporter.clone();
                Box::pin(async move {
                    let ended = env::timeout(remaining, call).await;
                    let ended = ended.map_err(|_| {
                        reporter.report(Decision::DeadlineElapsed);
                        Elapsed
                    });
                    ended?.map_err(Error::Inner)
                })
            }
            None => {
                let call = self.inner.call(request);
                Box::pin(async move { call.await.map_err(Error::Inner) })
            }
        }
    }
}
