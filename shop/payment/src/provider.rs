//! The payment provider: what the shop needs of one, and how it deals with one that does not answer.
//!
//! A charge ends known. Each attempt has a limit and there are few of them; when none was answered, the
//! charge is voided, so that money which the provider may have taken without saying so goes back.

use std::{fmt::Display, future::Future, time::Duration};

use contracts::Money;
use outrigger::{env, prelude::BoxError};

/// How often a charge is tried.
pub const ATTEMPTS: u32 = 3;
/// How long one attempt may take. All of them fit into the time that `POST /orders` waits.
pub const ATTEMPT_LIMIT: Duration = Duration::from_millis(400);
/// The pause before the second attempt; each further one is twice as long.
pub const PAUSE: Duration = Duration::from_millis(50);

/// A payment provider.
///
/// Every call names the charge by a key that the shop chose, and is idempotent by it: the provider does
/// once what it is asked twice.
pub trait Provider: Clone + Send + Sync + 'static {
    /// Takes the amount.
    fn charge(
        &self,
        charge: &Charge,
        attempt: u32,
    ) -> impl Future<Output = Result<Verdict, Unreachable>> + Send;

    /// Makes sure that nothing is taken under `key`, now or later.
    fn void(&self, key: &str) -> impl Future<Output = Result<(), Unreachable>> + Send;

    /// Gives back what was taken under `key`.
    fn refund(&self, key: &str) -> impl Future<Output = Result<(), Unreachable>> + Send;
}

/// What is to be taken, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The charge's name: the id of the order that it is for.
    pub key: String,
    /// How much.
    pub amount: Money,
    /// The provider's token for the customer's means of payment.
    pub token: String,
}

/// What the provider says of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The amount is taken.
    Captured,
    /// Nothing is taken.
    Declined {
        /// Why, for people.
        reason: String,
    },
}

/// The provider could not be asked, or its answer did not arrive: what it did is unknown.
#[derive(Debug, thiserror::Error)]
#[error("the payment provider cannot be reached: {reason}")]
pub struct Unreachable {
    /// What went wrong on the way.
    pub reason: String,
}

/// How a charge ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The amount is taken.
    Captured,
    /// Nothing is taken, because the provider said no.
    Declined {
        /// Why, for people.
        reason: String,
    },
    /// Nothing is taken, because the provider said nothing and the charge was voided.
    TimedOut,
}

/// Charges, and does not come back before it is known how that ended.
///
/// # Errors
/// The provider could not even be asked to void a charge of unknown outcome; ask again.
pub async fn settle<P: Provider>(provider: &P, charge: &Charge) -> Result<Settled, BoxError> {
    for attempt in 1..=ATTEMPTS {
        if attempt > 1 {
            env::sleep(PAUSE * 2_u32.pow(attempt - 2)).await;
        }
        let answer = env::timeout(ATTEMPT_LIMIT, provider.charge(charge, attempt)).await;
        match answer {
            Ok(Ok(Verdict::Captured)) => return Ok(Settled::Captured),
            Ok(Ok(Verdict::Declined { reason })) => return Ok(Settled::Declined { reason }),
            Ok(Err(_)) | Err(_) => {}
        }
    }
    limited(provider.void(&charge.key)).await?;
    Ok(Settled::TimedOut)
}

/// Waits for an answer that must come, for as long as an attempt may take.
///
/// # Errors
/// There was none.
pub async fn limited<E: Display>(
    answer: impl Future<Output = Result<(), E>>,
) -> Result<(), BoxError> {
    match env::timeout(ATTEMPT_LIMIT, answer).await {
        Ok(answer) => answer.map_err(|error| error.to_string().into()),
        Err(_) => Err("the payment provider did not answer in time".into()),
    }
}
