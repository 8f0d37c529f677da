//! No piece is lost, made or promised twice.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::collections::BTreeMap;

use contracts::{Currency, Money, inventory::Line};
use proptest::prelude::*;
use shop_inventory::domain::{LOW, Product, Refusal, STOCK_MAX, Stock, reserve};

const PRICE: Money = Money::new(9999, Currency::Eur);

fn product(id: &str, stock: u32) -> (String, Product) {
    let stock = Stock::received(stock);
    (
        id.to_owned(),
        Product {
            id: id.to_owned(),
            name: id.to_owned(),
            price: PRICE,
            stock,
        },
    )
}

fn catalogue() -> BTreeMap<String, Product> {
    [product("lamp", 10), product("desk", 3)].into()
}

fn line(product: &str, quantity: u32) -> Line {
    Line {
        product_id: product.to_owned(),
        quantity,
        price: PRICE,
    }
}

#[test]
fn reserving_moves_pieces_off_the_shelf() {
    let after = reserve(&catalogue(), &[line("lamp", 2), line("desk", 3)]).unwrap();
    let stocks: Vec<_> = after
        .iter()
        .map(|p| (p.stock.on_hand, p.stock.reserved))
        .collect();
    assert_eq!(stocks, [(8, 2), (0, 3)]);
}

#[test]
fn a_delivery_goes_to_the_shelf_as_far_as_the_shop_takes_it() {
    let stock = Stock::received(10).reserve(4).unwrap();
    let more = stock.receive(5).unwrap();
    assert_eq!((more.on_hand, more.reserved, more.received), (11, 4, 15));
    assert!(more.conserved());
    assert_eq!(
        stock.receive(STOCK_MAX - 10).map(Stock::conserved),
        Some(true)
    );
    assert_eq!(stock.receive(STOCK_MAX - 9), None);
}

#[test]
fn all_lines_or_none() {
    let refusal = reserve(&catalogue(), &[line("lamp", 2), line("desk", 4)]).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::Insufficient {
            id: "desk".to_owned(),
            asked: 4,
            on_hand: 3
        }
    );
    assert!(refusal.to_string().contains("Insufficient inventory"));
}

#[test]
fn what_does_not_exist_or_costs_otherwise_is_refused() {
    let refused = reserve(&catalogue(), &[line("sofa", 1)]);
    assert_eq!(
        refused,
        Err(Refusal::ProductNotFound {
            id: "sofa".to_owned()
        })
    );
    let cheaper = Line {
        price: Money::new(1, Currency::Eur),
        ..line("lamp", 1)
    };
    let refused = reserve(&catalogue(), &[cheaper]);
    assert_eq!(
        refused,
        Err(Refusal::PriceChanged {
            id: "lamp".to_owned(),
            price: PRICE
        })
    );
}

#[test]
fn low_is_said_once_for_each_fall() {
    let full = Stock::received(7);
    let low = full.reserve(2).unwrap();
    assert_eq!(low.on_hand, LOW);
    assert!(low.fell_low(full));
    assert!(!low.reserve(1).unwrap().fell_low(low), "it was low before");
    let back = low.release(2).unwrap();
    assert!(back.reserve(3).unwrap().fell_low(back), "it fell again");
    assert!(!full.reserve(1).unwrap().fell_low(full));
}

proptest! {
    #[test]
    fn stock_is_conserved_whatever_happens(
        received in 0..1000_u32,
        steps in prop::collection::vec((0..3_u8, 0..500_u32), 0..50),
    ) {
        let mut stock = Stock::received(received);
        for (step, quantity) in steps {
            let after = match step {
                0 => stock.reserve(quantity),
                1 => stock.release(quantity),
                _ => stock.sell(quantity),
            };
            stock = after.unwrap_or(stock);
            prop_assert!(stock.conserved(), "{:?}", stock);
        }
    }
}
