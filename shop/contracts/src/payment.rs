//! What payment-service says, and what it is told.

use outrigger::{env::Timestamp, prelude::*};
use serde::{Deserialize, Serialize};

use crate::{Currency, Decimal, Money, word::words};

/// Its name.
pub const SERVICE: &str = "payment-service";

/// The payment method of an order that names none.
pub const DEFAULT_METHOD: &str = "tok_ok";

/// Why a charge is refused: the codes of its [`Failure`].
pub mod refusal {
    /// The provider said no.
    pub const PAYMENT_DECLINED: &str = "payment-declined";
    /// The provider did not say anything in time; the charge was voided there.
    pub const PAYMENT_TIMEOUT: &str = "payment-timeout";
    /// The order was cancelled before its charge came.
    pub const PAYMENT_WITHDRAWN: &str = "payment-withdrawn";
}

/// An order was paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Event)]
#[event("payment.charged", version = 1, key = order_id)]
#[serde(rename_all = "camelCase")]
pub struct PaymentCharged {
    /// Which payment.
    pub payment_id: String,
    /// For which order.
    pub order_id: String,
    /// By whom.
    pub user_id: String,
    /// How much.
    pub amount: Money,
}

/// An order could not be paid; nothing was captured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Event)]
#[event("payment.declined", version = 1, key = order_id)]
#[serde(rename_all = "camelCase")]
pub struct PaymentDeclined {
    /// Which payment.
    pub payment_id: String,
    /// For which order.
    pub order_id: String,
    /// By whom.
    pub user_id: String,
    /// How much it would have been.
    pub amount: Money,
    /// Why, for people.
    pub reason: String,
}

/// A payment was given back whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Event)]
#[event("payment.refunded", version = 1, key = order_id)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRefunded {
    /// Which payment.
    pub payment_id: String,
    /// For which order.
    pub order_id: String,
    /// To whom.
    pub user_id: String,
    /// How much.
    pub amount: Money,
}

/// Takes the price of an order from the customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Command)]
#[command("payment-service", "charge-payment", reply = Charged)]
#[serde(rename_all = "camelCase")]
pub struct ChargePayment {
    /// For which order.
    pub order_id: String,
    /// From whom.
    pub user_id: String,
    /// How much.
    pub amount: Money,
    /// The provider's token for the customer's means of payment.
    pub method: String,
}

/// The answer to a [`ChargePayment`] that went through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Charged {
    /// The payment.
    pub payment_id: String,
}

/// Gives back what was taken for an order, and refuses a charge that comes later. Undoes [`ChargePayment`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Command)]
#[command("payment-service", "refund-payment")]
#[serde(rename_all = "camelCase")]
pub struct RefundPayment {
    /// For which order.
    pub order_id: String,
}

/// A payment, as `GET /payments?orderId=` shows one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// Which.
    pub id: String,
    /// For which order.
    pub order_id: String,
    /// By whom.
    pub user_id: String,
    /// How much was asked for.
    pub amount: Decimal,
    /// In which currency.
    pub currency: Currency,
    /// How it ended.
    pub status: PaymentStatus,
    /// When it was asked for.
    pub created_at: Timestamp,
}

words! {
    /// How a payment ended.
    pub enum PaymentStatus {
        /// The amount is ours.
        Captured = "CAPTURED",
        /// Nothing was taken.
        Declined = "DECLINED",
        /// What was taken was given back.
        Refunded = "REFUNDED",
    }
}
