//! The order and what may happen to it. Pure.

use contracts::{
    Money, Whole,
    inventory::Line,
    order::{CreateOrder, OrderStatus},
};
use outrigger::{
    env::Timestamp,
    prelude::{Aggregate, Failure},
};
use serde::{Deserialize, Serialize};

/// How many pieces of a product an order may have.
pub type Quantity = Whole<1, 1000>;
/// How many lines an order may have.
pub const LINES_MAX: usize = 100;

/// The aggregate: what the events of an order say together.
#[derive(Debug, Default, PartialEq)]
pub struct Order {
    /// How far it is; `None` while it is not created.
    pub status: Option<OrderStatus>,
    /// What it costs; `None` while it is not created.
    pub total: Option<Money>,
}

/// What may happen to an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all_fields = "camelCase")]
pub enum OrderEvent {
    /// It was placed, and is PENDING.
    Created {
        /// By whom.
        user_id: String,
        /// What.
        lines: Vec<Line>,
        /// What it costs.
        total: Money,
        /// When.
        placed_at: Timestamp,
    },
    /// It is reserved and paid.
    Confirmed {
        /// Since when.
        at: Timestamp,
    },
    /// It came to nothing, perhaps before it was even created.
    Cancelled {
        /// When.
        at: Timestamp,
    },
}

impl Aggregate for Order {
    const KIND: &'static str = "order";
    type Event = OrderEvent;

    fn apply(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Created { total, .. } => {
                self.status = Some(OrderStatus::Pending);
                self.total = Some(*total);
            }
            OrderEvent::Confirmed { .. } => self.status = Some(OrderStatus::Confirmed),
            OrderEvent::Cancelled { .. } => self.status = Some(OrderStatus::Cancelled),
        }
    }
}

impl Order {
    /// Creates the order: what happens, or nothing where it is created already.
    ///
    /// # Errors
    /// It was cancelled before it was created.
    pub fn create(&self, command: &CreateOrder) -> Result<Option<OrderEvent>, Failure> {
        match self.status {
            None => Ok(Some(OrderEvent::Created {
                user_id: command.customer.user_id.clone(),
                lines: command.lines.clone(),
                total: command.total,
                placed_at: command.placed_at,
            })),
            Some(OrderStatus::Pending | OrderStatus::Confirmed) => Ok(None),
            Some(OrderStatus::Cancelled) => Err(refused("order-cancelled", "was cancelled")),
        }
    }

    /// Confirms the order: what happens, or nothing where it is confirmed already.
    ///
    /// # Errors
    /// It is not there, or cancelled.
    pub fn confirm(&self, at: Timestamp) -> Result<Option<OrderEvent>, Failure> {
        match self.status {
            Some(OrderStatus::Pending) => Ok(Some(OrderEvent::Confirmed { at })),
            Some(OrderStatus::Confirmed) => Ok(None),
            Some(OrderStatus::Cancelled) => Err(refused("order-cancelled", "was cancelled")),
            None => Err(refused("order-not-found", "does not exist")),
        }
    }

    /// Cancels the order: what happens, or nothing where it is cancelled already. An order that is not there
    /// is cancelled too, so that it cannot be created later.
    ///
    /// # Errors
    /// It is confirmed: that is its end.
    pub fn cancel(&self, at: Timestamp) -> Result<Option<OrderEvent>, Failure> {
        match self.status {
            None | Some(OrderStatus::Pending) => Ok(Some(OrderEvent::Cancelled { at })),
            Some(OrderStatus::Cancelled) => Ok(None),
            Some(OrderStatus::Confirmed) => Err(refused("order-confirmed", "is confirmed")),
        }
    }
}

fn refused(code: &str, what: &str) -> Failure {
    Failure::new(code, format!("The order {what}."))
}
