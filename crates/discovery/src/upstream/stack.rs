//! What every call to a service passes: which layers there are, in which order, and why.

use axum_core::body::Body;
use http::Response;
use resilience::{
    adaptive::{self, AdaptiveLayer, Limiter},
    bulkhead::{self, Bulkhead, BulkheadLayer},
    deadline::{self, DeadlineLayer},
    hedge::{self, HedgeLayer},
    observe::Reporter,
    retry::{Budget, RetryLayer, Verdict},
};
use tower::{
    ServiceBuilder,
    layer::util::Stack as Over,
    util::{BoxCloneSyncService, MapErrLayer},
};

use super::{
    Policy,
    attempt::{Answer, Attempt, Failure, Outgoing},
};
use crate::{Error, Result};

/// All layers over the attempts. Boxed, so that what callers build on it does not grow with it.
pub(super) type Stack = BoxCloneSyncService<Outgoing, Response<Body>, Error>;

/// The stack for calls that `policy` holds for. Stacks of one service share its `budget`.
pub(super) fn stack(
    attempt: Attempt,
    policy: &Policy,
    budget: &Budget,
    reporter: &Reporter,
) -> Stack {
    let service = attempt.shared.service.clone();
    let late = {
        let service = service.clone();
        move |error| match error {
            deadline::Error::Elapsed(_) => Error::DeadlineExceeded {
                service: service.to_string(),
            },
            deadline::Error::Inner(Failure { error, .. }) => error,
        }
    };
    let bulkhead = policy.bulkhead.map(|settings| {
        let service = service.clone();
        let full = move |error| match error {
            bulkhead::Error::Full(full) => overloaded(&service, full),
            bulkhead::Error::Inner(failure) => failure,
        };
        let bulkhead = Bulkhead::reporting(settings, reporter.clone());
        Over::new(BulkheadLayer::new(bulkhead), MapErrLayer::new(full))
    });
    let retry = policy.retry.map(|settings| {
        RetryLayer::new(settings, verdict, Outgoing::again)
            .budget(budget.clone())
            .reporter(reporter.clone())
    });
    let hedge = policy.hedge.map(|delay| {
        let hedge = HedgeLayer::new(delay, Outgoing::beside).reporter(reporter.clone());
        let hedge = match policy.retry {
            Some(_) => hedge.within(budget.clone()),
            None => hedge.budget(budget.clone()),
        };
        let inner = |hedge::Error(failure)| failure;
        Over::new(hedge, MapErrLayer::new(inner))
    });
    let adaptive = policy.adaptive.map(|settings| {
        let service = service.clone();
        let limited = move |error| match error {
            adaptive::Error::Limited(limited) => overloaded(&service, limited),
            adaptive::Error::Inner(failure) => failure,
        };
        let limiter = Limiter::reporting(settings, reporter.clone());
        Over::new(AdaptiveLayer::new(limiter, load), MapErrLayer::new(limited))
    });
    let stack = ServiceBuilder::new()
        .map_err(late)
        .map_response(|answer: Answer| answer.response)
        // Outermost: whatever happens below, waits and attempts included, ends when the caller stops waiting. What is
        // late already costs nothing.
        .layer(DeadlineLayer::of_caller().reporter(reporter.clone()))
        // Before the attempts: a call keeps its place while it waits to be made again, so the tasks and the memory that
        // one service can take from its callers are bounded.
        .option_layer(bulkhead)
        // Above the pick, so that another attempt goes to another instance.
        .option_layer(retry)
        // Within an attempt: the second request is one of the two that an attempt may cost, from the same budget.
        .option_layer(hedge)
        // Next to the request, for it measures what one takes; a wait between attempts is no work of the service.
        .option_layer(adaptive)
        // Instance, breakers and connection. The breakers are in there, for each attempt counts.
        .service(attempt);
    Stack::new(stack)
}

/// What is worth another attempt: a connection that broke, and an answer by which the service says so.
fn verdict(ended: &Result<Answer, Failure>) -> Verdict {
    match ended {
        Ok(answer) if answer.repeatable && answer.said.again => answer
            .said
            .after
            .map_or(Verdict::Again, Verdict::AgainAfter),
        Err(failure) if failure.repeatable => Verdict::Again,
        _ => Verdict::Keep,
    }
}

/// What the end of a request says of the load.
fn load(ended: &Result<Answer, Failure>) -> adaptive::Ended {
    match ended {
        Ok(answer) if answer.said.overloaded => adaptive::Ended::Overloaded,
        Ok(_) => adaptive::Ended::Answered,
        Err(_) => adaptive::Ended::Otherwise,
    }
}

fn overloaded(service: &str, source: impl Into<env::BoxError>) -> Failure {
    Failure::from(Error::Overloaded {
        service: service.to_owned(),
        source: source.into(),
    })
}
