//! Notifications: what customers are told, once for each thing that happens.

pub mod api;
pub mod domain;
pub mod messages;
pub mod store;

use contracts::{
    notification::NotificationSent,
    order::{OrderCancelled, OrderConfirmed, OrderCreated, OrderStockLow},
    user::UserRegistered,
};
use outrigger::prelude::*;

use crate::messages::tell;

/// notification-service.
pub fn service() -> Service {
    Service::new(contracts::notification::SERVICE)
        .version(env!("CARGO_PKG_VERSION"))
        .boundary(
            Boundary::of("notifications")
                .responsible_for("what customers are told, and that they are told it once")
                .owns(["notifications"])
                .apis(["/notifications"]),
        )
        .migrations(store::MIGRATIONS)
        .routes(api::routes())
        .publishes::<NotificationSent>()
        .on::<UserRegistered, _>(tell)
        .on::<OrderCreated, _>(tell)
        .on::<OrderConfirmed, _>(tell)
        .on::<OrderCancelled, _>(tell)
        .on::<OrderStockLow, _>(tell)
}
