//! A basket holds what the catalogue has, at the catalogue's price, or says why not.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::collections::BTreeMap;

use contracts::{Currency, Id, Money, inventory::Product};
use shop_order::basket::{Basket, Item, Refusal, fill};
use shop_order::domain::Quantity;

fn product(id: &str, price: &str, currency: Currency, stock: i64) -> (String, Product) {
    let product = Product {
        id: id.to_owned(),
        name: id.to_owned(),
        price: price.parse().unwrap(),
        currency,
        stock,
        created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
    };
    (id.to_owned(), product)
}

fn catalogue() -> BTreeMap<String, Product> {
    [
        product("lamp", "99.99", Currency::Eur, 10),
        product("desk", "250", Currency::Eur, 5000),
        product("tea", "3.50", Currency::Gbp, 10),
    ]
    .into()
}

fn item(id: &str, quantity: u32) -> Item {
    let product_id = Id::try_from(id.to_owned()).unwrap();
    Item {
        product_id,
        quantity: Quantity::new(quantity).unwrap(),
        price: None,
    }
}

fn filled(items: &[Item]) -> Result<Basket, Refusal> {
    fill(items, &catalogue())
}

#[test]
fn a_basket_has_the_catalogues_prices() {
    let basket = filled(&[item("lamp", 2), item("desk", 1)]).unwrap();
    assert_eq!(basket.total, Money::new(2 * 9999 + 25_000, Currency::Eur));
    let priced = Item {
        price: Some("99.99".parse().unwrap()),
        ..item("lamp", 2)
    };
    assert_eq!(filled(&[priced]).unwrap().lines[0].price.minor(), 9999);
}

#[test]
fn a_product_named_twice_is_one_line() {
    let basket = filled(&[item("lamp", 2), item("desk", 1), item("lamp", 3)]).unwrap();
    let lines: Vec<_> = basket
        .lines
        .iter()
        .map(|l| (l.product_id.as_str(), l.quantity))
        .collect();
    assert_eq!(lines, [("lamp", 5), ("desk", 1)]);
    let refusal = filled(&[item("lamp", 6), item("lamp", 6)]).unwrap_err();
    let insufficient = Refusal::Insufficient {
        index: 1,
        id: "lamp".to_owned(),
        asked: 12,
        on_hand: 10,
    };
    assert_eq!(refusal, insufficient, "the stock is for all items together");
    let refusal = filled(&[item("desk", 1000), item("desk", 1)]).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::TooMuch {
            index: 1,
            id: "desk".to_owned()
        }
    );
}

#[test]
fn an_item_that_cannot_be_had_is_named() {
    let id = || "lamp".to_owned();
    let refusal = filled(&[item("desk", 1), item("sofa", 1)]).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::ProductNotFound {
            index: 1,
            id: "sofa".to_owned()
        }
    );

    let cheaper = Item {
        price: Some("0.99".parse().unwrap()),
        ..item("lamp", 1)
    };
    let price = Money::new(9999, Currency::Eur);
    assert_eq!(
        filled(&[cheaper]),
        Err(Refusal::PriceMismatch {
            index: 0,
            id: id(),
            price
        })
    );

    let refusal = filled(&[item("lamp", 15)]).unwrap_err();
    assert!(
        refusal.to_string().contains("Insufficient inventory"),
        "{refusal}"
    );
}

#[test]
fn a_basket_has_bounds() {
    assert_eq!(filled(&[]), Err(Refusal::Empty));
    let many = vec![item("desk", 1); 101];
    assert_eq!(filled(&many), Err(Refusal::TooManyItems { count: 101 }));
    assert!(filled(&many[..100]).is_ok());
    assert_eq!(
        filled(&[item("lamp", 1), item("tea", 1)]),
        Err(Refusal::MixedCurrencies)
    );
}
