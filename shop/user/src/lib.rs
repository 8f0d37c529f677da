//! Users: who they are and where to write to them.

pub mod api;
pub mod domain;
pub mod store;

use contracts::user::{UserRegistered, UserUpdated};
use outrigger::prelude::*;

/// user-service.
pub fn service() -> Service {
    Service::new(contracts::user::SERVICE)
        .version(env!("CARGO_PKG_VERSION"))
        .boundary(
            Boundary::of("users")
                .responsible_for("who the users are, and where to write to them")
                .owns(["users"])
                .apis(["/users"]),
        )
        .migrations(store::MIGRATIONS)
        .routes(api::routes())
        .publishes::<UserRegistered>()
        .publishes::<UserUpdated>()
}
