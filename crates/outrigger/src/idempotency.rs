//! `Idempotency-Key`: a `POST` or `PATCH` that takes effect once, however often it is sent (G3).
//!
//! A client that got no answer sends the request again with the key that it gave it the first time
//! (draft-ietf-httpapi-idempotency-key-header). What it gets:
//!
//! | the request with this key | answer |
//! |---|---|
//! | is new | it is handled, and its answer kept for a day (`idempotency.keep`) |
//! | was answered | the same status, headers and body, and `idempotency-replayed: true` |
//! | is being handled | the answer when it is there; 409 with `Retry-After` when the caller will wait no longer |
//! | was another one: method, path, query or body differ | 422 |
//! | was answered with 5xx or 429 | it is handled again: such an answer is not kept |
//! | was being handled when the process died | it is handled again, when the lease of that process is over |
//!
//! So a request can be handled more than once where it came to no answer. A handler whose effects must not happen twice
//! even then takes [`Idempotency`] as an argument and [decides](Idempotency::decide) in the transaction of its effects;
//! when it runs again it finds what it [decided](Idempotency::decided), and goes on from there.
//!
//! The keys of one caller mean nothing for another. Behind the gateway all clients are one caller, so a key must be
//! hard to guess: a UUID.
//!
//! Here is what a handler gets; `layer.rs` claims, waits, runs and stores, `request.rs` and `answer.rs` are what it takes
//! from a request and keeps of an answer.

mod answer;
mod layer;
mod request;

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, StatusCode, request::Parts},
};
use data::{
    Database, Transaction,
    idempotency::{Claim, Decided},
};
use env::Problem;
use serde::{Serialize, de::DeserializeOwned};

use crate::Rejection;

pub use request::KEY_MAX;

pub(crate) use layer::{Keys, layer};

/// Marks an answer that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What a handler needs to take effect once: an argument of it. Where the request has no `Idempotency-Key`, nothing was
/// decided, and a decision is not kept.
///
/// ```
/// use outrigger::prelude::*;
///
/// async fn draw(State(ctx): State<Context>, once: Idempotency) -> Result<String, Rejection> {
///     if let Some(number) = once.decided(ctx.db()).await? {
///         return Ok(number);
///     }
///     let number = env::id().to_string();
///     ctx.db()
///         .transaction(async |mut tx| {
///             once.decide(&mut tx, &number).await?;
///             tx.execute("INSERT INTO draws (number) VALUES ($1)", params![&number]).await?;
///             Ok::<_, Rejection>(())
///         })
///         .await?;
///     Ok(number)
/// }
/// # use outrigger::env;
/// # let _: Router<Context> = Router::new().route("/draws", post(draw));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Idempotency(Option<Arc<Claim>>);

impl Idempotency {
    /// The key of the request, if it has one. Its caller gives it to no other request.
    pub fn key(&self) -> Option<&str> {
        self.0.as_deref().map(Claim::key)
    }

    /// What an earlier run of this request [decided](Self::decide); `None` when this is the first to come so far.
    ///
    /// # Errors
    /// 500 when the database fails, or when what was decided is not a `T`.
    pub async fn decided<T: DeserializeOwned>(
        &self,
        db: &Database,
    ) -> Result<Option<T>, Rejection> {
        let Some(claim) = &self.0 else {
            return Ok(None);
        };
        let decision = claim.decision(db).await?;
        let decision = decision.map(|text| serde_json::from_str(&text)).transpose();
        decision.map_err(|error| Rejection::internal(&error))
    }

    /// Remembers what the request comes to, in the transaction of its effects. Call it first there: on PostgreSQL two
    /// runs then meet before either has written anything else.
    ///
    /// # Errors
    /// 409 when another run of the request has taken over, 500 when an earlier one has decided already: the caller
    /// should have asked [`decided`](Self::decided). Drop the transaction and hand on the error.
    pub async fn decide<T: Serialize>(
        &self,
        tx: &mut Transaction,
        value: &T,
    ) -> Result<(), Rejection> {
        let Some(claim) = &self.0 else {
            return Ok(());
        };
        let text = serde_json::to_string(value).map_err(|error| Rejection::internal(&error))?;
        match claim.decide(tx, &text).await? {
            Decided::Now => Ok(()),
            Decided::Overtaken => Err(in_progress().into()),
            Decided::Before => Err(Rejection::internal(&DecidedTwice)),
        }
    }
}

/// A handler decided without asking what was decided.
#[derive(Debug, thiserror::Error)]
#[error(
    "a handler decides on a request that is decided: it must ask `Idempotency::decided` first, and decide once"
)]
struct DecidedTwice;

impl<S: Send + Sync> FromRequestParts<S> for Idempotency {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

fn in_progress() -> Problem {
    let detail =
        "The request with this Idempotency-Key is still being handled: send it again in a moment.";
    Problem::new(StatusCode::CONFLICT, "request-in-progress", detail).retry_after(1)
}
