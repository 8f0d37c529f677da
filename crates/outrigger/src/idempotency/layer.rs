//! Lets a request with a key through once.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};
use data::{
    Database,
    idempotency::{Claim, Claimed, Request as Keyed},
};
use env::{Problem, RequestContext, chain, request::IDEMPOTENCY_KEY};
use futures::future::{self, Either};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::{
    Idempotency,
    answer::{self, Whole},
    in_progress, request,
};
use crate::Rejection;

/// How long a claim holds without being renewed: so long a request waits whose first run died with its process.
const LEASE: Duration = Duration::from_secs(10);
/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How long a twin waits for the first if its caller sets no deadline.
const WAIT: Duration = Duration::from_secs(5);
/// What is left of a deadline for the answer's way back.
const WAY_BACK: Duration = Duration::from_millis(100);
/// How often a twin looks unasked, for a lease simply runs out.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the layer needs.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) db: Database,
    /// How long an answer is kept.
    pub(crate) keep: Duration,
    /// The most that the body of a request or of a kept answer may hold, in bytes.
    pub(crate) body_limit: usize,
    /// Where requests run: a service that stops waits for them, also for those whose client is gone.
    pub(crate) running: TaskTracker,
}

/// The layer. It stands behind the token check, which says who calls.
pub(crate) async fn layer(State(keys): State<Keys>, request: Request, next: Next) -> Response {
    let applies = matches!(*request.method(), Method::POST | Method::PATCH)
        // What nobody serves takes no effect, and need not be remembered.
        && request.extensions().get::<MatchedPath>().is_some();
    if !applies || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    let answered = keys.once(request, next).await;
    answered.unwrap_or_else(IntoResponse::into_response)
}

impl Keys {
    async fn once(self, request: Request, next: Next) -> Result<Response, Rejection> {
        let (parts, body) = request.into_parts();
        let body = request::read(body, self.body_limit).await?;
        let request = request::identify(&parts, &body)?;
        match self.claim(&request).await? {
            Claimed::Answered(answer) => Ok(answer::replay(answer)),
            Claimed::Other => Err(request::mismatch().into()),
            Claimed::Theirs => Err(in_progress().into()),
            Claimed::Mine(claim) => {
                let request = Request::from_parts(parts, Body::from(body));
                // A task of its own: what has begun ends, and its answer is kept, also when the client is gone.
                let tasks = self.running.clone();
                let run = RequestContext::current().scope(self.run(claim, request, next));
                let answered = tasks.spawn(run.in_current_span()).await;
                Ok(answered.unwrap_or_else(|_| Problem::internal().into_response()))
            }
        }
    }

    /// Claims the request; while another run has it, waits for as long as the caller does.
    async fn claim(&self, request: &Keyed) -> Result<Claimed, data::Error> {
        let wait = RequestContext::current().remaining();
        let wait = wait.map_or(WAIT, |remaining| remaining.saturating_sub(WAY_BACK));
        let until = env::instant() + wait;
        let mut ended = self.db.claims_ended();
        loop {
            let claimed = self.db.claim(request, LEASE, self.keep).await?;
            let left = until.saturating_duration_since(env::instant());
            if !matches!(claimed, Claimed::Theirs) || left.is_zero() {
                return Ok(claimed);
            }
            let _ = env::timeout(left.min(LOOK_EVERY), ended.wait()).await; // then it looks unasked
        }
    }

    /// Handles the request under its claim, which is renewed until the answer is kept.
    async fn run(self, claim: Claim, request: Request, next: Next) -> Response {
        let claim = Arc::new(claim);
        // Side by side: the handler may hold the transaction that a renewal waits for.
        let handling = pin!(self.handle(&claim, request, next));
        let renewing = pin!(self.renew(&claim));
        let handled = match future::select(handling, renewing).await {
            Either::Left((handled, _)) => handled,
            Either::Right((never, _)) => match never {},
        };
        match handled {
            Handled::Kept(response) => response,
            Handled::Free(response) => {
                note(claim.release(&self.db).await);
                response
            }
        }
    }

    async fn handle(&self, claim: &Arc<Claim>, mut request: Request, next: Next) -> Handled {
        let extractor = Idempotency(Some(Arc::clone(claim)));
        request.extensions_mut().insert(extractor);
        let response = next.run(request).await;
        if !answer::is_final(response.status()) {
            return Handled::Free(response);
        }
        let (head, body) = response.into_parts();
        let (kept, body) = match answer::read(body, self.body_limit).await {
            Whole::Kept(body) => (answer::stored(&head, &body), Body::from(body)),
            Whole::TooLarge(body) => (answer::too_large(self.body_limit), body),
            Whole::Broken => return Handled::Free(Problem::internal().into_response()),
        };
        note(claim.answer(&self.db, &kept).await);
        Handled::Kept(Response::from_parts(head, body))
    }

    async fn renew(&self, claim: &Claim) -> Infallible {
        loop {
            env::sleep(RENEW_EVERY).await;
            let renewed = claim.renew(&self.db, LEASE).await;
            let lost = matches!(renewed, Ok(false));
            note(renewed);
            if lost {
                future::pending::<()>().await;
            }
        }
    }
}

/// How a run ended.
enum Handled {
    /// Its answer is the one that later requests get.
    Kept(Response),
    /// The request may be handled again.
    Free(Response),
}

/// A claim is a matter of a later retry, so its failure does not change the answer of this run.
fn note(outcome: Result<bool, data::Error>) {
    match outcome {
        Ok(true) => {}
        Ok(false) => tracing::warn!("another run has taken over a request with an idempotency key"),
        Err(error) => {
            tracing::warn!(error = %chain(&error), "cannot keep what became of a request with an idempotency key");
        }
    }
}
