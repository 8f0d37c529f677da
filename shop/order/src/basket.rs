//! What a customer asks for, held against the catalogue. Pure.

use std::collections::BTreeMap;

use contracts::{
    Currency, Decimal, Id, Money,
    inventory::{Line, Product},
};
use serde::Deserialize;

use crate::domain::{LINES_MAX, Quantity};

/// A line as a customer asks for it.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    rename_all = "camelCase",
    expecting = "an item: an object with productId and quantity"
)]
pub struct Item {
    /// Which product.
    pub product_id: Id,
    /// How many.
    pub quantity: Quantity,
    /// What the customer believes one costs; what it costs is the catalogue's to say.
    pub price: Option<Decimal>,
}

/// What is ordered: no product twice, each at its price, all in one currency.
#[derive(Debug, Clone, PartialEq)]
pub struct Basket {
    /// The lines, in the order in which the customer named the products.
    pub lines: Vec<Line>,
    /// What they cost together.
    pub total: Money,
}

/// Checks how many items there are, which needs no catalogue.
///
/// # Errors
/// There are none, or too many.
pub fn check_count(items: &[Item]) -> Result<(), Refusal> {
    match items.len() {
        0 => Err(Refusal::Empty),
        count if count > LINES_MAX => Err(Refusal::TooManyItems { count }),
        _ => Ok(()),
    }
}

/// Fills a basket with `items` from `catalogue`, the products by id.
///
/// # Errors
/// The first item that cannot be had as asked for.
pub fn fill(items: &[Item], catalogue: &BTreeMap<String, Product>) -> Result<Basket, Refusal> {
    check_count(items)?;
    let mut lines: Vec<Line> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let id = item.product_id.as_str();
        let product = catalogue.get(id).ok_or_else(|| Refusal::ProductNotFound {
            index,
            id: id.to_owned(),
        })?;
        if item.price.is_some_and(|price| price != product.price) {
            let price = Money::of(product.price, product.currency);
            return Err(Refusal::PriceMismatch {
                index,
                id: id.to_owned(),
                price,
            });
        }
        let asked = item.quantity.get();
        let line = match lines.iter_mut().find(|line| line.product_id == id) {
            Some(line) => {
                // At most LINES_MAX quantities of at most 1000: no overflow.
                line.quantity += asked;
                &*line
            }
            None => {
                let price = Money::of(product.price, product.currency);
                lines.push(Line {
                    product_id: id.to_owned(),
                    quantity: asked,
                    price,
                });
                &lines[lines.len() - 1]
            }
        };
        if Quantity::new(line.quantity).is_none() {
            return Err(Refusal::TooMuch {
                index,
                id: id.to_owned(),
            });
        }
        if i64::from(line.quantity) > product.stock {
            let (asked, on_hand) = (line.quantity, product.stock);
            return Err(Refusal::Insufficient {
                index,
                id: id.to_owned(),
                asked,
                on_hand,
            });
        }
    }
    let total = total(&lines)?;
    Ok(Basket { lines, total })
}

fn total(lines: &[Line]) -> Result<Money, Refusal> {
    let currency = lines
        .first()
        .map_or(Currency::default(), |line| line.price.currency());
    if lines.iter().any(|line| line.price.currency() != currency) {
        return Err(Refusal::MixedCurrencies);
    }
    lines
        .iter()
        .try_fold(Money::new(0, currency), |sum, line| {
            sum.plus(line.price.times(line.quantity)?)
        })
        .ok_or(Refusal::TooDear)
}

/// Why a basket cannot be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing was asked for.
    #[error("An order has at least one item.")]
    Empty,
    /// More items than an order may have.
    #[error("An order has at most {LINES_MAX} items; these are {count}.")]
    TooManyItems {
        /// How many.
        count: usize,
    },
    /// More pieces of one product, over all its items, than an order may have.
    #[error(
        "An order has at most 1000 pieces of a product, over all its items; product {id} has more."
    )]
    TooMuch {
        /// The item that is too much.
        index: usize,
        /// Its product.
        id: String,
    },
    /// There is no such product.
    #[error("There is no product {id}.")]
    ProductNotFound {
        /// The item.
        index: usize,
        /// Its product.
        id: String,
    },
    /// The product costs something else.
    #[error("Product {id} costs {price}.")]
    PriceMismatch {
        /// The item.
        index: usize,
        /// Its product.
        id: String,
        /// What it costs.
        price: Money,
    },
    /// There is less on hand.
    #[error("Insufficient inventory: {asked} of product {id} were asked for, {on_hand} are there.")]
    Insufficient {
        /// The item.
        index: usize,
        /// Its product.
        id: String,
        /// How many were asked for, over all items.
        asked: u32,
        /// How many there are.
        on_hand: i64,
    },
    /// Products in different currencies cannot be paid together.
    #[error(
        "The products of an order have prices in one currency; place one order for each currency."
    )]
    MixedCurrencies,
    /// The total is more than the shop can write down.
    #[error("The order costs more than the shop can take in one payment.")]
    TooDear,
}
