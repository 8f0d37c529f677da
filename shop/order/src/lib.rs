//! Orders: placing them, their state, and their history.

pub mod api;
pub mod basket;
pub mod domain;
pub mod history;
pub mod messages;
pub mod place_order;
pub mod store;

use contracts::{
    inventory::StockLow,
    order::{
        CancelOrder, ConfirmOrder, CreateOrder, OrderCancelled, OrderConfirmed, OrderCreated,
        OrderStockLow,
    },
    user::UserUpdated,
};
use outrigger::prelude::*;

/// order-service.
pub fn service() -> Service {
    Service::new(contracts::order::SERVICE)
        .version(env!("CARGO_PKG_VERSION"))
        .boundary(
            Boundary::of("orders")
                .responsible_for("that an order ends: reserved and paid, or neither")
                .responsible_for("what each user has ordered")
                .owns(["orders", "order_items", "order_history", "customers"])
                .apis(["/orders", "/order-history"])
                .depends_on([contracts::user::SERVICE, contracts::inventory::SERVICE]),
        )
        .migrations(store::MIGRATIONS)
        .routes(api::routes())
        .publishes::<OrderCreated>()
        .publishes::<OrderConfirmed>()
        .publishes::<OrderCancelled>()
        .publishes::<OrderStockLow>()
        .saga(place_order::place_order)
        .command::<CreateOrder, _>(messages::create_order)
        .command::<ConfirmOrder, _>(messages::confirm_order)
        .command::<CancelOrder, _>(messages::cancel_order)
        .on::<UserUpdated, _>(messages::user_updated)
        .on::<StockLow, _>(messages::stock_low)
        .projection(history::OrderHistory)
}
