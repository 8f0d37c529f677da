//! Each state of an order is told once, and tells the customer what they need.

use std::collections::BTreeSet;

use contracts::{
    Currency, Money,
    order::{Customer, OrderCancelled, OrderConfirmed, OrderCreated, OrderStockLow},
    user::UserRegistered,
};
use shop_notification::domain::Notice;

fn customer() -> Customer {
    let [user_id, email, name] = ["ada", "ada@example.com", "Ada"].map(str::to_owned);
    Customer {
        user_id,
        email,
        name,
    }
}

fn notices(order_id: &str) -> [Notice; 4] {
    let (order_id, total) = (order_id.to_owned(), Money::new(19_998, Currency::Eur));
    [
        OrderCreated {
            order_id: order_id.clone(),
            customer: customer(),
            lines: vec![],
            total,
        }
        .into(),
        OrderConfirmed {
            order_id: order_id.clone(),
            customer: customer(),
            total,
        }
        .into(),
        OrderCancelled {
            order_id: order_id.clone(),
            customer: customer(),
        }
        .into(),
        OrderStockLow {
            order_id,
            customer: customer(),
            product_id: "lamp".to_owned(),
            product_name: "Desk lamp".to_owned(),
            on_hand: 5,
        }
        .into(),
    ]
}

#[test]
fn each_state_of_each_order_has_its_own_id() {
    let ids: BTreeSet<String> = ["one", "two"]
        .into_iter()
        .flat_map(notices)
        .map(|notice| notice.id)
        .collect();
    assert_eq!(ids.len(), 8, "{ids:?}");
    assert_eq!(
        notices("one")[1].id,
        notices("one")[1].id,
        "the same event, the same id"
    );
}

#[test]
fn a_notice_addresses_the_customer_and_names_the_order() {
    for notice in notices("order-1") {
        assert_eq!(
            (notice.user_id.as_str(), notice.email.as_str()),
            ("ada", "ada@example.com")
        );
        assert!(notice.body.starts_with("Hello Ada,"), "{}", notice.body);
        assert!(notice.body.contains("order-1"), "{}", notice.body);
        assert!(!notice.subject.contains('\n'));
    }
    assert!(notices("order-1")[1].body.contains("199.98 EUR"));
}

#[test]
fn a_new_user_is_welcomed() {
    let Customer {
        user_id,
        email,
        name,
    } = customer();
    let notice = Notice::from(UserRegistered {
        user_id,
        email,
        name,
    });
    assert_eq!(
        (notice.id.as_str(), notice.about),
        ("user.registered:ada", "user.registered")
    );
}
