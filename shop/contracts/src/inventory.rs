//! What inventory-service says, and what it is told.

use outrigger::{env::Timestamp, prelude::*};
use serde::{Deserialize, Serialize};

use crate::{Currency, Decimal, Money};

/// Its name.
pub const SERVICE: &str = "inventory-service";

/// Why a reservation is refused: the codes of its [`Failure`].
pub mod refusal {
    /// There is less on hand than was asked for.
    pub const INSUFFICIENT_INVENTORY: &str = "insufficient-inventory";
    /// The catalogue's price is no longer the one that the customer saw.
    pub const PRICE_CHANGED: &str = "price-changed";
    /// There is no such product.
    pub const PRODUCT_NOT_FOUND: &str = "product-not-found";
    /// The order was cancelled before its reservation came.
    pub const RESERVATION_RELEASED: &str = "reservation-released";
}

/// A product is in the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Event)]
#[event("product.created", version = 1, key = product_id)]
#[serde(rename_all = "camelCase")]
pub struct ProductCreated {
    /// Which.
    pub product_id: String,
    /// What it is called.
    pub name: String,
    /// What one costs.
    pub price: Money,
    /// How many are on hand.
    pub stock: i64,
}

/// Pieces of a product were taken in, or moved between the shelf, the reserved and the sold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Event)]
#[event("inventory.stock.changed", version = 1, key = product_id)]
#[serde(rename_all = "camelCase")]
pub struct StockChanged {
    /// Which product.
    pub product_id: String,
    /// How many can be ordered now.
    pub on_hand: i64,
    /// How many are held for orders that are under way.
    pub reserved: i64,
    /// How many were sold, ever.
    pub sold: i64,
}

/// The stock of a product fell to the threshold or below; said once for each time that it falls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Event)]
#[event("inventory.stock.low", version = 1, key = product_id)]
#[serde(rename_all = "camelCase")]
pub struct StockLow {
    /// Which product.
    pub product_id: String,
    /// What it is called.
    pub product_name: String,
    /// How many can be ordered now.
    pub on_hand: i64,
    /// What counts as low.
    pub threshold: i64,
}

/// Holds the pieces of an order, all of them or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Command)]
#[command("inventory-service", "reserve-items")]
#[serde(rename_all = "camelCase")]
pub struct ReserveItems {
    /// For which order.
    pub order_id: String,
    /// What; no product twice.
    pub lines: Vec<Line>,
}

/// Puts back what was held for an order, and refuses a reservation that comes later. Undoes [`ReserveItems`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Command)]
#[command("inventory-service", "release-items")]
#[serde(rename_all = "camelCase")]
pub struct ReleaseItems {
    /// Of which order.
    pub order_id: String,
}

/// Some pieces of one product at one price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Which product.
    pub product_id: String,
    /// How many.
    pub quantity: u32,
    /// What one costs.
    pub price: Money,
}

/// A product, as `GET /products/{id}` shows one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Which.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What one costs.
    pub price: Decimal,
    /// In which currency.
    pub currency: Currency,
    /// How many can be ordered now.
    pub stock: i64,
    /// Since when it is in the catalogue.
    pub created_at: Timestamp,
}
