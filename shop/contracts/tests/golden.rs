//! The JSON of every message, held against the files in `golden/`.
//!
//! A file is what a reader of the version in its name was built for. Adding an optional field changes no
//! file that exists; anything else that makes this test fail needs a new version of the event instead.
//! What stands in them also keeps to the committed schemas in `schemas/` (`shop check`).
//! `UPDATE_GOLDEN=1 cargo test -p shop-contracts` writes the files of new messages.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::{collections::BTreeSet, fmt::Debug, fs, path::PathBuf};

use outrigger::prelude::{Command, Event};
use serde::{Serialize, de::DeserializeOwned};
use shop_contracts::{
    Currency, Money,
    inventory::{self, Line},
    notification,
    order::{self, Customer, OrderStatus},
    payment::{self, PaymentStatus},
    user,
};

/// Collects the names of the files that a message stands behind.
#[derive(Default)]
struct Golden {
    names: BTreeSet<String>,
}

impl Golden {
    fn event<E: Event + PartialEq + Debug>(&mut self, key: &str, event: E) {
        assert_eq!(event.key(), key, "{} is ordered by another key", E::TYPE);
        let name = format!("{}.v{}.json", E::TYPE, E::VERSION);
        self.holds(name.clone(), event);
        keeps_to_schema(&name);
    }

    fn command<C: Command + PartialEq + Debug>(&mut self, command: C) {
        let name = format!("{}.{}.json", C::SERVICE, C::ACTION);
        self.holds(name.clone(), command);
        keeps_to_schema(&name);
    }

    fn view<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, view: T) {
        self.holds(format!("view.{name}.json"), view);
    }

    fn holds<T: Serialize + DeserializeOwned + PartialEq + Debug>(
        &mut self,
        name: String,
        value: T,
    ) {
        let path = folder().join(&name);
        let written = serde_json::to_value(&value).unwrap();
        if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
            let text = serde_json::to_string_pretty(&written).unwrap();
            fs::write(&path, text + "\n").unwrap();
        }
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written, golden, "{name} is written differently");
        let read: T = serde_json::from_str(&text).unwrap();
        assert_eq!(read, value, "{name} is read differently");
        assert!(
            self.names.insert(name.clone()),
            "{name} stands for two messages"
        );
    }
}

/// A client that knows the committed schema takes the example.
fn keeps_to_schema(name: &str) {
    let json = |folder: PathBuf| -> serde_json::Value {
        let text = fs::read_to_string(folder.join(name));
        serde_json::from_str(&text.unwrap_or_else(|error| panic!("{name}: {error}"))).unwrap()
    };
    let schema = json(folder().with_file_name("schemas"));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let outcome = validator
        .validate(&json(folder()))
        .map_err(|error| error.to_string());
    assert_eq!(outcome, Ok(()), "{name}");
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn customer() -> Customer {
    Customer {
        user_id: text("ada"),
        email: text("ada@example.com"),
        name: text("Ada Lovelace"),
    }
}

fn lines() -> Vec<Line> {
    vec![Line {
        product_id: text("lamp"),
        quantity: 2,
        price: Money::new(9999, Currency::Eur),
    }]
}

fn total() -> Money {
    Money::new(19_998, Currency::Eur)
}

fn moment() -> outrigger::env::Timestamp {
    "2026-01-02T03:04:05.678Z".parse().unwrap()
}

#[test]
fn every_message_is_written_and_read_as_its_golden_file_says() {
    let mut golden = Golden::default();
    users(&mut golden);
    products(&mut golden);
    payments(&mut golden);
    orders(&mut golden);
    notifications(&mut golden);

    let files = fs::read_dir(folder()).unwrap();
    let files: BTreeSet<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        files, golden.names,
        "a file in golden/ that no message stands behind"
    );
}

fn users(golden: &mut Golden) {
    let Customer {
        user_id,
        email,
        name,
    } = customer();
    golden.event(
        "ada",
        user::UserRegistered {
            user_id: user_id.clone(),
            email: email.clone(),
            name: name.clone(),
        },
    );
    golden.event(
        "ada",
        user::UserUpdated {
            user_id: user_id.clone(),
            email: email.clone(),
            name: name.clone(),
            version: 2,
        },
    );
    golden.view(
        "user",
        user::User {
            id: user_id,
            email,
            name,
            version: 1,
            created_at: moment(),
        },
    );
}

fn products(golden: &mut Golden) {
    golden.event(
        "lamp",
        inventory::ProductCreated {
            product_id: text("lamp"),
            name: text("Desk lamp"),
            price: Money::new(9999, Currency::Eur),
            stock: 10,
        },
    );
    golden.event(
        "lamp",
        inventory::StockChanged {
            product_id: text("lamp"),
            on_hand: 8,
            reserved: 2,
            sold: 0,
        },
    );
    golden.event(
        "lamp",
        inventory::StockLow {
            product_id: text("lamp"),
            product_name: text("Desk lamp"),
            on_hand: 5,
            threshold: 5,
        },
    );
    golden.command(inventory::ReserveItems {
        order_id: text("order-1"),
        lines: lines(),
    });
    golden.command(inventory::ReleaseItems {
        order_id: text("order-1"),
    });
    golden.view(
        "product",
        inventory::Product {
            id: text("lamp"),
            name: text("Desk lamp"),
            price: Money::new(9999, Currency::Eur).decimal(),
            currency: Currency::Eur,
            stock: 10,
            created_at: moment(),
        },
    );
}

fn payments(golden: &mut Golden) {
    let (payment_id, order_id, user_id) = (text("payment-1"), text("order-1"), text("ada"));
    golden.event(
        "order-1",
        payment::PaymentCharged {
            payment_id: payment_id.clone(),
            order_id: order_id.clone(),
            user_id: user_id.clone(),
            amount: total(),
        },
    );
    golden.event(
        "order-1",
        payment::PaymentDeclined {
            payment_id: payment_id.clone(),
            order_id: order_id.clone(),
            user_id: user_id.clone(),
            amount: total(),
            reason: text("The payment was declined."),
        },
    );
    golden.event(
        "order-1",
        payment::PaymentRefunded {
            payment_id: payment_id.clone(),
            order_id: order_id.clone(),
            user_id: user_id.clone(),
            amount: total(),
        },
    );
    golden.command(payment::ChargePayment {
        order_id: order_id.clone(),
        user_id: user_id.clone(),
        amount: total(),
        method: text("tok_ok"),
    });
    golden.view(
        "charged",
        payment::Charged {
            payment_id: payment_id.clone(),
        },
    );
    golden.command(payment::RefundPayment {
        order_id: order_id.clone(),
    });
    golden.view(
        "payment",
        payment::Payment {
            id: payment_id,
            order_id,
            user_id,
            amount: total().decimal(),
            currency: Currency::Eur,
            status: PaymentStatus::Captured,
            created_at: moment(),
        },
    );
}

fn orders(golden: &mut Golden) {
    let order_id = text("order-1");
    golden.event(
        "order-1",
        order::OrderCreated {
            order_id: order_id.clone(),
            customer: customer(),
            lines: lines(),
            total: total(),
        },
    );
    golden.event(
        "order-1",
        order::OrderConfirmed {
            order_id: order_id.clone(),
            customer: customer(),
            total: total(),
        },
    );
    golden.event(
        "order-1",
        order::OrderCancelled {
            order_id: order_id.clone(),
            customer: customer(),
        },
    );
    golden.event(
        "order-1",
        order::OrderStockLow {
            order_id: order_id.clone(),
            customer: customer(),
            product_id: text("lamp"),
            product_name: text("Desk lamp"),
            on_hand: 5,
        },
    );
    golden.command(order::CreateOrder {
        order_id: order_id.clone(),
        customer: customer(),
        customer_version: 1,
        lines: lines(),
        total: total(),
        placed_at: moment(),
    });
    golden.command(order::CancelOrder {
        order_id: order_id.clone(),
    });
    golden.command(order::ConfirmOrder {
        order_id: order_id.clone(),
    });
    golden.view(
        "order",
        order::Order {
            id: order_id.clone(),
            user_id: text("ada"),
            items: lines().iter().map(order::Item::from).collect(),
            status: OrderStatus::Confirmed,
            reason: None,
            total: total().decimal(),
            currency: Currency::Eur,
            created_at: moment(),
        },
    );
    golden.view(
        "history-entry",
        order::HistoryEntry {
            order_id,
            user_id: text("ada"),
            user_name: text("Ada Lovelace"),
            user_email: text("ada@example.com"),
            status: OrderStatus::Cancelled,
            total: total().decimal(),
            currency: Currency::Eur,
            created_at: moment(),
            updated_at: moment(),
        },
    );
}

fn notifications(golden: &mut Golden) {
    let (id, user_id, email) = (
        text("order.confirmed:order-1"),
        text("ada"),
        text("ada@example.com"),
    );
    golden.event(
        "ada",
        notification::NotificationSent {
            notification_id: id.clone(),
            user_id: user_id.clone(),
            email: email.clone(),
            about: text("order.confirmed"),
        },
    );
    golden.view(
        "notification",
        notification::Notification {
            id,
            user_id,
            email,
            about: text("order.confirmed"),
            subject: text("Your order is confirmed"),
            body: text("Ada Lovelace, your order order-1 of 199.98 EUR is confirmed."),
            created_at: moment(),
        },
    );
}
