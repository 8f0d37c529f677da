//! What customers are told, and in which words. Pure.

use contracts::{
    order::{Customer, OrderCancelled, OrderConfirmed, OrderCreated, OrderStockLow},
    user::UserRegistered,
};
use outrigger::prelude::Event;

/// Something to tell somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it tells of: a second notice with the same id would say the same again.
    pub id: String,
    /// Whom to tell.
    pub user_id: String,
    /// Where.
    pub email: String,
    /// The type of the event that it tells of.
    pub about: &'static str,
    /// In one line.
    pub subject: String,
    /// In full.
    pub body: String,
}

impl Notice {
    /// A notice to `customer` of the event `E` that befell `thing`.
    fn of<E: Event>(thing: &str, customer: Customer, subject: &str, body: &str) -> Self {
        Self {
            id: format!("{}:{thing}", E::TYPE),
            user_id: customer.user_id,
            email: customer.email,
            about: E::TYPE,
            subject: subject.to_owned(),
            body: format!("Hello {},\n\n{body}\n", customer.name),
        }
    }
}

impl From<UserRegistered> for Notice {
    fn from(event: UserRegistered) -> Self {
        let UserRegistered {
            user_id,
            email,
            name,
        } = event;
        let customer = Customer {
            user_id: user_id.clone(),
            email,
            name,
        };
        Self::of::<UserRegistered>(&user_id, customer, "Welcome", "your account is ready.")
    }
}

impl From<OrderCreated> for Notice {
    fn from(event: OrderCreated) -> Self {
        let body = format!("we have your order {} of {}.", event.order_id, event.total);
        let subject = "We have your order";
        Self::of::<OrderCreated>(&event.order_id, event.customer, subject, &body)
    }
}

impl From<OrderConfirmed> for Notice {
    fn from(event: OrderConfirmed) -> Self {
        let (order, total) = (&event.order_id, event.total);
        let body = format!("your order {order} is confirmed; {total} is paid.");
        Self::of::<OrderConfirmed>(order, event.customer, "Your order is confirmed", &body)
    }
}

impl From<OrderCancelled> for Notice {
    fn from(event: OrderCancelled) -> Self {
        let order = &event.order_id;
        let body = format!("your order {order} is cancelled; nothing is to be paid.");
        Self::of::<OrderCancelled>(order, event.customer, "Your order is cancelled", &body)
    }
}

impl From<OrderStockLow> for Notice {
    fn from(event: OrderStockLow) -> Self {
        let OrderStockLow {
            order_id,
            customer,
            product_id,
            product_name,
            on_hand,
        } = event;
        let thing = format!("{order_id}:{product_id}");
        let body = format!(
            "{product_name}, which is in your order {order_id}, is running low: {on_hand} are left."
        );
        Self::of::<OrderStockLow>(
            &thing,
            customer,
            "Something you ordered is running low",
            &body,
        )
    }
}
