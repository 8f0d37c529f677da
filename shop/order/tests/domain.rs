//! An order is created once, and ends confirmed or cancelled, never both.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use contracts::{
    Currency, Money,
    order::{CreateOrder, Customer, OrderStatus},
};
use outrigger::prelude::{Aggregate, Failure};
use proptest::prelude::*;
use shop_order::domain::{Order, OrderEvent};

fn at() -> outrigger::env::Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn command() -> CreateOrder {
    CreateOrder {
        order_id: "order-1".to_owned(),
        customer: Customer {
            user_id: "ada".to_owned(),
            email: "ada@example.com".to_owned(),
            name: "Ada".to_owned(),
        },
        customer_version: 1,
        lines: Vec::new(),
        total: Money::new(1, Currency::Eur),
        placed_at: at(),
    }
}

/// The steps that a saga may ask for, in any order and any number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Create,
    Confirm,
    Cancel,
}

fn decide(order: &Order, step: Step) -> Result<Option<OrderEvent>, Failure> {
    match step {
        Step::Create => order.create(&command()),
        Step::Confirm => order.confirm(at()),
        Step::Cancel => order.cancel(at()),
    }
}

fn after(steps: &[Step]) -> (Order, Vec<OrderEvent>) {
    let mut order = Order::default();
    let mut events = Vec::new();
    for step in steps {
        if let Ok(Some(event)) = decide(&order, *step) {
            order.apply(&event);
            events.push(event);
        }
    }
    (order, events)
}

#[test]
fn the_steps_of_the_saga_lead_to_a_confirmed_order() {
    let (order, events) = after(&[Step::Create, Step::Confirm]);
    assert_eq!(order.status, Some(OrderStatus::Confirmed));
    assert_eq!(order.total, Some(Money::new(1, Currency::Eur)));
    assert_eq!(events.len(), 2);
}

#[test]
fn an_order_cancelled_before_it_was_created_stays_cancelled() {
    let (order, events) = after(&[Step::Cancel, Step::Create, Step::Confirm]);
    assert_eq!(order.status, Some(OrderStatus::Cancelled));
    assert_eq!(events, [OrderEvent::Cancelled { at: at() }]);
    assert_eq!(
        order.create(&command()).unwrap_err().code,
        "order-cancelled"
    );
}

#[test]
fn a_confirmed_order_cannot_be_cancelled() {
    let (order, _) = after(&[Step::Create, Step::Confirm]);
    assert_eq!(order.cancel(at()).unwrap_err().code, "order-confirmed");
}

proptest! {
    #[test]
    fn whatever_is_asked_it_is_created_once_and_ends_once(
        steps in prop::collection::vec(
            prop::sample::select(vec![Step::Create, Step::Confirm, Step::Cancel]),
            0..12,
        ),
    ) {
        let (_, events) = after(&steps);
        let count = |kind: fn(&OrderEvent) -> bool| events.iter().filter(|event| kind(event)).count();
        let created = count(|event| matches!(event, OrderEvent::Created { .. }));
        let confirmed = count(|event| matches!(event, OrderEvent::Confirmed { .. }));
        let cancelled = count(|event| matches!(event, OrderEvent::Cancelled { .. }));
        prop_assert!(created <= 1 && confirmed + cancelled <= 1, "{:?}", events);
        prop_assert!(confirmed <= created, "confirmed without having been created");
    }
}
