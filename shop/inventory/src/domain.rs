//! Stock and what may happen to it. Pure.
//!
//! Pieces are taken in, and from then on they only ever move: from the shelf to the reserved and back, from the reserved to
//! the sold. So
//! `on_hand + reserved + sold = received`, always ([`Stock::conserved`]).

use std::collections::BTreeMap;

use contracts::{
    Money,
    inventory::{Line, refusal},
    money::PRICE_MAX,
};
use outrigger::{
    data::{FromValue, Value},
    prelude::Failure,
};

/// What counts as low stock.
pub const LOW: i64 = 5;
/// The most pieces of a product that the shop takes in.
pub const STOCK_MAX: u32 = 1_000_000_000;

/// Where the pieces of a product are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stock {
    /// On the shelf: can be ordered.
    pub on_hand: i64,
    /// Held for orders that are under way.
    pub reserved: i64,
    /// Gone to customers.
    pub sold: i64,
    /// Ever taken in.
    pub received: i64,
}

impl Stock {
    /// A first delivery of `quantity`.
    pub fn received(quantity: u32) -> Self {
        let quantity = quantity.into();
        Self {
            on_hand: quantity,
            received: quantity,
            ..Self::default()
        }
    }

    /// A further delivery of `quantity`; `None` when that is more than the shop takes in.
    pub fn receive(self, quantity: u32) -> Option<Self> {
        let quantity = i64::from(quantity);
        (self.received + quantity <= i64::from(STOCK_MAX)).then(|| Self {
            on_hand: self.on_hand + quantity,
            received: self.received + quantity,
            ..self
        })
    }

    /// From the shelf to the reserved; `None` when there is not enough.
    pub fn reserve(self, quantity: u32) -> Option<Self> {
        let quantity = i64::from(quantity);
        (self.on_hand >= quantity).then(|| Self {
            on_hand: self.on_hand - quantity,
            reserved: self.reserved + quantity,
            ..self
        })
    }

    /// From the reserved back to the shelf; `None` when fewer are reserved.
    pub fn release(self, quantity: u32) -> Option<Self> {
        let quantity = i64::from(quantity);
        (self.reserved >= quantity).then(|| Self {
            on_hand: self.on_hand + quantity,
            reserved: self.reserved - quantity,
            ..self
        })
    }

    /// From the reserved to the sold; `None` when fewer are reserved.
    pub fn sell(self, quantity: u32) -> Option<Self> {
        let quantity = i64::from(quantity);
        (self.reserved >= quantity).then(|| Self {
            reserved: self.reserved - quantity,
            sold: self.sold + quantity,
            ..self
        })
    }

    /// Whether no piece came from nowhere or went there.
    pub fn conserved(self) -> bool {
        let parts = [self.on_hand, self.reserved, self.sold];
        parts.iter().all(|part| *part >= 0) && parts.iter().sum::<i64>() == self.received
    }

    /// Whether this stock is low and `before` was not.
    pub fn fell_low(self, before: Self) -> bool {
        before.on_hand > LOW && self.on_hand <= LOW
    }
}

/// A product of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Which.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What one costs.
    pub price: Money,
    /// Where its pieces are.
    pub stock: Stock,
}

/// Whether something may cost `price`.
pub fn is_price(price: Money) -> bool {
    (0..=PRICE_MAX).contains(&price.minor())
}

/// What becomes of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The pieces are held.
    Held,
    /// The pieces went to the customer.
    Sold,
    /// The pieces are back on the shelf, or were never taken and never will be.
    Released,
}

impl State {
    /// The state as the database writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Sold => "sold",
            Self::Released => "released",
        }
    }
}

impl From<State> for Value {
    fn from(state: State) -> Self {
        state.as_str().into()
    }
}

impl FromValue for State {
    fn from_value(value: &Value) -> Option<Self> {
        let Value::Text(text) = value else {
            return None;
        };
        [Self::Held, Self::Sold, Self::Released]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// Reserves all of `lines` or nothing: the products as they are afterwards.
///
/// `products` are those of the lines that exist, by id; no product stands in two lines.
///
/// # Errors
/// The first line that cannot be had.
pub fn reserve(
    products: &BTreeMap<String, Product>,
    lines: &[Line],
) -> Result<Vec<Product>, Refusal> {
    lines
        .iter()
        .map(|line| {
            let id = &line.product_id;
            let product = products
                .get(id)
                .ok_or_else(|| Refusal::ProductNotFound { id: id.clone() })?;
            if product.price != line.price {
                let (id, price) = (id.clone(), product.price);
                return Err(Refusal::PriceChanged { id, price });
            }
            let stock =
                product
                    .stock
                    .reserve(line.quantity)
                    .ok_or_else(|| Refusal::Insufficient {
                        id: id.clone(),
                        asked: line.quantity,
                        on_hand: product.stock.on_hand,
                    })?;
            Ok(Product {
                stock,
                ..product.clone()
            })
        })
        .collect()
}

/// Why a reservation is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such product.
    #[error("There is no product {id}.")]
    ProductNotFound {
        /// Its id.
        id: String,
    },
    /// The product costs something else by now.
    #[error("Product {id} costs {price} by now.")]
    PriceChanged {
        /// Its id.
        id: String,
        /// Its price.
        price: Money,
    },
    /// There is less on hand.
    #[error("Insufficient inventory: {asked} of product {id} were asked for, {on_hand} are there.")]
    Insufficient {
        /// Its id.
        id: String,
        /// How many were asked for.
        asked: u32,
        /// How many there are.
        on_hand: i64,
    },
    /// The order was cancelled already.
    #[error("The order was cancelled before its items were reserved.")]
    Released,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::ProductNotFound { .. } => refusal::PRODUCT_NOT_FOUND,
            Refusal::PriceChanged { .. } => refusal::PRICE_CHANGED,
            Refusal::Insufficient { .. } => refusal::INSUFFICIENT_INVENTORY,
            Refusal::Released => refusal::RESERVATION_RELEASED,
        };
        Failure::new(code, refusal.to_string())
    }
}
