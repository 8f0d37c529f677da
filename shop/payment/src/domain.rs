//! What becomes of a payment. Pure.

use contracts::{
    Money,
    payment::{ChargePayment, PaymentStatus, refusal},
};
use outrigger::{env::Timestamp, prelude::Failure};

use crate::provider::Settled;

/// What the books say of the payment of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Which payment.
    pub id: String,
    /// For which order; an order has one payment.
    pub order_id: String,
    /// By whom.
    pub user_id: String,
    /// How much was asked for.
    pub amount: Money,
    /// How it ended.
    pub status: PaymentStatus,
    /// Why it was declined, if it was.
    pub refusal: Option<Failure>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl Payment {
    /// The payment that `command` asked for, as the provider `settled` it.
    pub fn of(command: ChargePayment, settled: Settled, id: String, now: Timestamp) -> Self {
        let (status, refusal) = match settled {
            Settled::Captured => (PaymentStatus::Captured, None),
            Settled::Declined { reason } => (
                PaymentStatus::Declined,
                Some(Failure::new(refusal::PAYMENT_DECLINED, reason)),
            ),
            Settled::TimedOut => (PaymentStatus::Declined, Some(timed_out())),
        };
        let ChargePayment {
            order_id,
            user_id,
            amount,
            method: _,
        } = command;
        Self {
            id,
            order_id,
            user_id,
            amount,
            status,
            refusal,
            created_at: now,
        }
    }
}

fn timed_out() -> Failure {
    let reason = "The payment provider did not answer in time; nothing was taken.";
    Failure::new(refusal::PAYMENT_TIMEOUT, reason)
}

/// The refusal of a charge whose order was cancelled before it came.
pub fn withdrawn() -> Failure {
    let reason = "The order was cancelled before it was charged; nothing was taken.";
    Failure::new(refusal::PAYMENT_WITHDRAWN, reason)
}
