//! Inventory: what the shop has, what of it is promised, and what it costs.

pub mod api;
pub mod domain;
pub mod messages;
pub mod store;

use contracts::{
    inventory::{ProductCreated, ReleaseItems, ReserveItems, StockChanged, StockLow},
    order::OrderConfirmed,
};
use outrigger::prelude::*;

/// inventory-service.
pub fn service() -> Service {
    Service::new(contracts::inventory::SERVICE)
        .version(env!("CARGO_PKG_VERSION"))
        .boundary(
            Boundary::of("inventory")
                .responsible_for("which products there are, and what they cost")
                .responsible_for("that no piece is promised twice")
                .owns(["products", "reservations", "reservation_items"])
                .apis(["/products"]),
        )
        .migrations(store::MIGRATIONS)
        .routes(api::routes())
        .publishes::<ProductCreated>()
        .publishes::<StockChanged>()
        .publishes::<StockLow>()
        .command::<ReserveItems, _>(messages::reserve_items)
        .command::<ReleaseItems, _>(messages::release_items)
        .on::<OrderConfirmed, _>(messages::order_confirmed)
}
