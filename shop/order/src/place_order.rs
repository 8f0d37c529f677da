//! The saga: how an order is placed.

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
    /// The key of the request, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
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

/// Creates the order, reserves its items, takes its price and confirms it; or undoes what was done of that,
/// the last step first.
///
/// Once it is paid there is no way back: whoever gave up on a confirmation that is slow to answer might refund an order
/// that is confirmed. So that step is tried until it is done.
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
    saga.point_of_no_return();
    saga.call(ConfirmOrder {
        order_id: order_id(),
    })
    .await
}
