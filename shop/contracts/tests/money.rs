//! Amounts survive the edge to the last cent, and nothing else gets in.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use proptest::prelude::*;
use shop_contracts::{
    Currency, Decimal, Money,
    money::{AMOUNT_MAX, Error, PRICE_MAX},
};

fn read(json: &str) -> Result<Decimal, serde_json::Error> {
    serde_json::from_str(json)
}

#[test]
fn reads_what_people_write() {
    for (json, minor) in [
        ("99.99", 9999),
        ("0.1", 10),
        ("7", 700),
        ("7.0", 700),
        ("1e2", 10_000),
    ] {
        assert_eq!(read(json).map(Decimal::minor).ok(), Some(minor), "{json}");
    }
}

#[test]
fn refuses_what_is_not_an_amount() {
    for json in [
        "99.999",
        "1e-3",
        "-1",
        "-0.01",
        "\"9.99\"",
        "null",
        "1e300",
        "10000000000000",
    ] {
        assert!(read(json).is_err(), "{json}");
    }
    for text in ["", ".", "1.", ".5", "+1", "1 ", "1.2.3", "0x1", "１"] {
        assert_eq!(text.parse::<Decimal>(), Err(Error::NotAnAmount), "{text}");
    }
}

#[test]
fn the_bounds_are_exact() {
    assert_eq!(
        read("9999999999999.99").map(Decimal::minor).ok(),
        Some(AMOUNT_MAX)
    );
    assert_eq!("10000000000000".parse::<Decimal>(), Err(Error::TooLarge));
    let dearest = Money::new(PRICE_MAX, Currency::Eur);
    assert!(
        dearest.times(100 * 1000).is_some(),
        "the largest order has a total"
    );
    assert_eq!(dearest.times(u32::MAX), None);
}

#[test]
fn currencies_do_not_mix() {
    assert_eq!(
        Money::new(1, Currency::Eur).plus(Money::new(1, Currency::Usd)),
        None
    );
    assert_eq!(
        serde_json::from_str::<Currency>("\"EUR\"").ok(),
        Some(Currency::Eur)
    );
    assert!(serde_json::from_str::<Currency>("\"eur\"").is_err());
}

proptest! {
    #[test]
    fn every_amount_survives_json(minor in 0..=AMOUNT_MAX) {
        let money = Money::new(minor, Currency::Eur);
        let json = serde_json::to_string(&money.decimal()).unwrap();
        prop_assert_eq!(read(&json).unwrap().minor(), minor, "{}", json);
    }

    #[test]
    fn every_text_of_an_amount_survives(minor in 0..=AMOUNT_MAX) {
        let text = Money::new(minor, Currency::Eur).decimal().to_string();
        prop_assert_eq!(text.parse::<Decimal>().unwrap().minor(), minor);
        prop_assert_eq!(read(&text).unwrap().minor(), minor, "as a JSON number");
    }

    #[test]
    fn a_third_digit_is_never_rounded_away(whole in 0..1_000_000_u32, thousandths in 0..1000_u32) {
        prop_assume!(thousandths % 10 != 0);
        let json = format!("{whole}.{thousandths:03}");
        prop_assert!(read(&json).is_err());
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,24}") {
        let _ = text.parse::<Decimal>();
    }

    #[test]
    fn a_total_is_the_sum_of_its_pieces(minor in 0..=PRICE_MAX, quantity in 1..=1000_u32) {
        let price = Money::new(minor, Currency::Eur);
        let one_by_one = (1..quantity).try_fold(price, |sum, _| sum.plus(price));
        prop_assert_eq!(price.times(quantity), one_by_one);
    }
}
