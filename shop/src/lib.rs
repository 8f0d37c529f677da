//! The reference shop: five services and a gateway, described once.
//!
//! | crate | subject |
//! |---|---|
//! | `contracts` | what the services say to each other |
//! | `user`, `inventory`, `payment`, `order`, `notification` | the services; none knows another |
//! | [`invariants`] | what must be true of them together |
//! | [`demo`], [`workload`] | something to look at; what users do all day |
//! | [`scenario`] | what they do while every instant is tried as that of a crash |
//!
//! Start at [`system`], then `order`'s `place_order`: the story that the others serve.

pub mod demo;
pub mod invariants;
pub mod scenario;
pub mod workload;

use std::time::Duration;

use outrigger::{Service, System};

/// What is within one database is not untrue for an instant.
const NEVER: Duration = Duration::ZERO;
/// What several know of an order is the same after this: all that the order takes, and a service that is away meanwhile.
const A_WHILE: Duration = Duration::from_mins(10);

/// The shop.
pub fn system() -> System {
    system_with(payment::service())
}

/// The shop whose payments are taken by `payment`.
pub fn system_with(payment: Service) -> System {
    let shop = System::new("shop")
        .service(user::service())
        .service(inventory::service())
        .service(payment)
        .service(order::service())
        .service(notification::service())
        .gateway(include_str!("../gateway.toml"))
        .contracts(concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/schemas"))
        .invariant(
            "no piece of stock is lost or made",
            NEVER,
            invariants::stock_is_conserved,
        )
        .invariant(
            "what is reserved and sold has its orders",
            NEVER,
            invariants::stock_has_its_orders,
        )
        .invariant(
            "a refund gives back one payment whole",
            NEVER,
            invariants::refunds_match,
        )
        .invariant(
            "an order is created once and ends once",
            NEVER,
            invariants::orders_begin_and_end_once,
        )
        .invariant(
            "a request with a key places one order",
            NEVER,
            invariants::a_request_places_one_order,
        )
        .invariant(
            "what was decided on a request is begun",
            NEVER,
            invariants::what_is_decided_is_begun,
        )
        .invariant(
            "a change of a user reaches the orders",
            A_WHILE,
            invariants::customers_are_known,
        )
        .invariant(
            "every order has ended",
            A_WHILE,
            invariants::orders_have_ended,
        )
        .invariant(
            "confirmed orders are paid, no others",
            A_WHILE,
            invariants::confirmed_is_paid,
        )
        .invariant(
            "confirmed orders are sold, no others",
            A_WHILE,
            invariants::confirmed_is_sold,
        )
        .invariant(
            "each state of an order is told once",
            A_WHILE,
            invariants::states_are_told,
        )
        .invariant(
            "the history is that of the orders",
            A_WHILE,
            invariants::history_is_true,
        )
        .example("/orders", demo::order())
        .workload(workload::run)
        .rush(workload::rush)
        .scenario(scenario::play)
        .state(scenario::state);
    demo::requests()
        .into_iter()
        .fold(shop, |shop, (path, body)| shop.demo(path, body))
}
