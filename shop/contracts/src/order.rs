//! What order-service says, and the steps of its saga that it does itself.

use outrigger::{env::Timestamp, prelude::*};
use serde::{Deserialize, Serialize};

use crate::{Currency, Decimal, Money, inventory::Line, word::words};

/// Its name.
pub const SERVICE: &str = "order-service";

/// Whom an order is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Customer {
    /// Who.
    pub user_id: String,
    /// Where to write to.
    pub email: String,
    /// How to address them.
    pub name: String,
}

/// An order exists and is PENDING: nothing is reserved or paid yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Event)]
#[event("order.created", version = 1, key = order_id)]
#[serde(rename_all = "camelCase")]
pub struct OrderCreated {
    /// Which.
    pub order_id: String,
    /// For whom.
    pub customer: Customer,
    /// What.
    pub lines: Vec<Line>,
    /// What it costs.
    pub total: Money,
}

/// An order is reserved and paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Event)]
#[event("order.confirmed", version = 1, key = order_id)]
#[serde(rename_all = "camelCase")]
pub struct OrderConfirmed {
    /// Which.
    pub order_id: String,
    /// For whom.
    pub customer: Customer,
    /// What was paid.
    pub total: Money,
}

/// An order came to nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Event)]
#[event("order.cancelled", version = 1, key = order_id)]
#[serde(rename_all = "camelCase")]
pub struct OrderCancelled {
    /// Which.
    pub order_id: String,
    /// For whom.
    pub customer: Customer,
}

/// A product of a pending order is running low.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Event)]
#[event("order.stock.low", version = 1, key = order_id)]
#[serde(rename_all = "camelCase")]
pub struct OrderStockLow {
    /// Which order.
    pub order_id: String,
    /// For whom.
    pub customer: Customer,
    /// Which product.
    pub product_id: String,
    /// What it is called.
    pub product_name: String,
    /// How many can still be ordered.
    pub on_hand: i64,
}

/// Writes the order down as PENDING.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Command)]
#[command("order-service", "create-order")]
#[serde(rename_all = "camelCase")]
pub struct CreateOrder {
    /// Under which id.
    pub order_id: String,
    /// For whom, as user-service had them when the order was placed.
    pub customer: Customer,
    /// The version of that user.
    pub customer_version: i64,
    /// What.
    pub lines: Vec<Line>,
    /// What it costs.
    pub total: Money,
    /// When it was placed.
    pub placed_at: Timestamp,
}

/// Marks the order CANCELLED, and refuses one that is created later. Undoes [`CreateOrder`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Command)]
#[command("order-service", "cancel-order")]
#[serde(rename_all = "camelCase")]
pub struct CancelOrder {
    /// Which.
    pub order_id: String,
}

/// Marks the order CONFIRMED: the last step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Command)]
#[command("order-service", "confirm-order")]
#[serde(rename_all = "camelCase")]
pub struct ConfirmOrder {
    /// Which.
    pub order_id: String,
}

/// An order, as `GET /orders/{id}` shows one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Which.
    pub id: String,
    /// For whom.
    pub user_id: String,
    /// What.
    pub items: Vec<Item>,
    /// How far it is.
    pub status: OrderStatus,
    /// Why it was cancelled, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Failure>,
    /// What it costs.
    pub total: Decimal,
    /// In which currency.
    pub currency: Currency,
    /// When it was placed.
    pub created_at: Timestamp,
}

/// A line of an [`Order`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Which product.
    pub product_id: String,
    /// How many.
    pub quantity: u32,
    /// What one costs.
    pub price: Decimal,
}

impl From<&Line> for Item {
    fn from(line: &Line) -> Self {
        Self {
            product_id: line.product_id.clone(),
            quantity: line.quantity,
            price: line.price.decimal(),
        }
    }
}

words! {
    /// How far an order is.
    pub enum OrderStatus {
        /// It is being reserved and paid.
        Pending = "PENDING",
        /// It is reserved and paid.
        Confirmed = "CONFIRMED",
        /// It came to nothing.
        Cancelled = "CANCELLED",
    }
}

/// An order in a customer's history, as `GET /order-history` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Which order.
    pub order_id: String,
    /// For whom.
    pub user_id: String,
    /// What they are called now.
    pub user_name: String,
    /// Where to write to now.
    pub user_email: String,
    /// How far the order is.
    pub status: OrderStatus,
    /// What it costs.
    pub total: Decimal,
    /// In which currency.
    pub currency: Currency,
    /// When it was placed.
    pub created_at: Timestamp,
    /// When its status last changed.
    pub updated_at: Timestamp,
}
