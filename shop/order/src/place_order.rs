//! The saga: how an order is placed.

use std::time::Duration;

use contracts::{
    Money,
    inventory::{Line, ReleaseItems, ReserveItems},
    order::{CancelOrder, ConfirmOrder, CreateOrder, Customer},
    payment::{ChargePayment, RefundPayment},
};
use outrigger::{env::Timestamp, prelude::*};
use serde::{Deserialize, Serialize};

/// What a customer wants, found to exist and to be in stock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlaceOrder {
    /// The order's id, and the saga's.
    pub order_id: String,
    /// For whom.
    pub customer: Customer,
    /// The version of that user.
    pub customer_version: i64,
    /// What.
    pub lines: Vec<Line>,
    /// What it costs.
    pub total: Money,
    /// The provider's token for the customer's means of payment.
    pub payment_method: String,
    /// When it was placed.
    pub placed_at: Timestamp,
}

impl Input for PlaceOrder {
    const SAGA: &'static str = "place-order";
}

impl PlaceOrder {
    fn create(&self) -> CreateOrder {
        CreateOrder {
            order_id: self.order_id.clone(),
            customer: self.customer.clone(),
            customer_version: self.customer_version,
            lines: self.lines.clone(),
            total: self.total,
            placed_at: self.placed_at,
        }
    }

    fn reserve(&self) -> ReserveItems {
        ReserveItems {
            order_id: self.order_id.clone(),
            lines: self.lines.clone(),
        }
    }

    fn charge(&self) -> ChargePayment {
        ChargePayment {
            order_id: self.order_id.clone(),
            user_id: self.customer.user_id.clone(),
            amount: self.total,
            method: self.payment_method.clone(),
        }
    }
}

/// How long the last step may take: as long as it takes.
///
/// Until then an order can be undone, and a step without an answer is. Confirming cannot: whoever gave up on it
/// might refund an order that is confirmed. It waits for this very service, which answers once it runs.
const CONFIRM_LIMIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Creates the order, reserves its items, takes its price and confirms it; or undoes what was done of that,
/// the last step first.
pub async fn place_order(saga: Saga, order: PlaceOrder) -> Result<(), Failure> {
    let order_id = || order.order_id.clone();
    saga.call(order.create())
        .undo(CancelOrder {
            order_id: order_id(),
        })
        .await?;
    saga.call(order.reserve())
        .undo(ReleaseItems {
            order_id: order_id(),
        })
        .await?;
    saga.call(order.charge())
        .undo(RefundPayment {
            order_id: order_id(),
        })
        .await?;
    saga.call(ConfirmOrder {
        order_id: order_id(),
    })
    .timeout(CONFIRM_LIMIT)
    .await
}
